"""/v1/scans: post a scan, follow it, fetch what came of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from scans.formats import MEDIA_TYPES
from scans.statistics import OrganRow
from serving.errors import MEDIA_TYPE, NoResult, NotFinished
from serving.intake import RequestRefused, parse_spacing
from serving.jobs import Job
from serving.progress import progress_of
from serving.resources import Resources
from serving.results import Axis
from serving.routes.given import Given
from serving.scan import Scan
from serving.schemas import (
    BoxResponse,
    Links,
    ModelResponse,
    OrganRowResponse,
    OrgansResponse,
    ProblemResponse,
    ScanParameters,
    ScanResponse,
    ScansResponse,
)
from serving.segmentation import finished_slabs

_PROBLEM: dict[str, Any] = {"model": ProblemResponse, "content": {MEDIA_TYPE: {}}}
_PIECE_BYTES = 1 << 20
_CSV_COLUMNS = (
    *("index", "name", "voxels", "volume_mm3", "centroid_z", "centroid_y", "centroid_x"),
    *("centroid_x_mm", "centroid_y_mm", "centroid_z_mm"),
    *("start_z", "start_y", "start_x", "stop_z", "stop_y", "stop_x", "touches_border"),
)

router = APIRouter(prefix="/v1/scans", tags=["scans"], responses={"4XX": _PROBLEM})

ScanId = Annotated[str, Path(description="The scan's id, as the answer to the post gave it.")]


@router.post(
    "",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file itself, as it is on disk; a DICOM or TIFF series as a zip of its files.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def post_scan(
    request: Request,
    response: Response,
    given: Given,
    parameters: Annotated[ScanParameters, Query()],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> ScanResponse:
    """Streams the body to the store, verifies every voxel of it, and queues the scan."""
    if (request.headers.get("content-type") or "").startswith("multipart/"):
        raise RequestRefused(
            "the body is a multipart form; send the file itself as the body, such as with `curl -T FILE`", field="body"
        )
    scan = await given.intake.receive(
        request.stream(), filename=parameters.filename, spacing=parse_spacing(parameters.spacing), key=idempotency_key
    )
    response.headers["Location"] = f"/v1/scans/{scan.id}"
    return await run_in_threadpool(lambda: _response(given, scan, given.jobs.job(scan.id)))


@router.get("")
def list_scans(given: Given) -> ScansResponse:
    """All scans, the newest first."""
    scans = given.store.scans()
    jobs = given.jobs.jobs(scan.id for scan in scans)
    return ScansResponse(scans=[_response(given, scan, jobs.get(scan.id, Job("queued"))) for scan in scans])


@router.get("/{scan_id}")
def get_scan(given: Given, scan_id: ScanId) -> ScanResponse:
    """A scan's state and progress."""
    scan = given.store.scan(scan_id)
    return _response(given, scan, given.jobs.job(scan_id))


@router.delete("/{scan_id}", status_code=204)
def delete_scan(given: Given, scan_id: ScanId) -> None:
    """Cancels the scan, where it is still to be finished, after the slab under way; then removes all of it."""
    given.store.scan(scan_id)
    given.jobs.cancel(scan_id)
    given.store.remove(scan_id)
    given.jobs.forget(scan_id)


@router.get("/{scan_id}/segmentation", response_class=StreamingResponse)
def get_segmentation(
    given: Given,
    scan_id: ScanId,
    format_name: Annotated[str, Query(alias="format", description=", ".join(MEDIA_TYPES))] = "nii.gz",
) -> StreamingResponse:
    """The class index of every voxel, with the frame of the scan."""
    scan, _ = _finished(given, scan_id)
    stack = ExitStack()
    path = stack.enter_context(given.results.exported(scan, format_name))
    headers = {"Content-Disposition": _disposition(path.name), "Content-Length": str(path.stat().st_size)}
    return StreamingResponse(_pieces(path, stack), media_type=MEDIA_TYPES[format_name], headers=headers)


@router.get("/{scan_id}/organs", response_model=OrgansResponse)
def get_organs(
    request: Request,
    given: Given,
    scan_id: ScanId,
    format_name: Annotated[Literal["json", "csv"] | None, Query(alias="format")] = None,
) -> Response | OrgansResponse:
    """Size, place and extent of every organ, as JSON, or as CSV where `format` or the Accept header asks for it."""
    scan, job = _finished(given, scan_id)
    if job.statistics is None:
        raise NoResult(f"scan {scan_id} has no statistics")
    rows = job.statistics.table(scan.organs, scan.frame, scan.shape)
    accepts_csv = "text/csv" in request.headers.get("accept", "")
    if format_name == "csv" or (format_name is None and accepts_csv):
        return Response(_csv(rows), media_type="text/csv")
    return OrgansResponse(scan=scan.id, model=_model(scan), organs=[_row(row) for row in rows])


@router.get("/{scan_id}/slices/{axis}/{index}.png", response_class=Response)
def get_slice(
    given: Given,
    scan_id: ScanId,
    axis: Axis,
    index: int,
    opacity: Annotated[float, Query(ge=0, le=1, description="Of the organs' colour.")] = 0.45,
) -> Response:
    """A slice of the scan, its organs laid over it."""
    scan, _ = _finished(given, scan_id)
    return Response(given.results.picture(scan, axis, index, opacity=opacity), media_type="image/png")


def _finished(given: Resources, scan_id: str) -> tuple[Scan, Job]:
    scan = given.store.scan(scan_id)
    job = given.jobs.job(scan_id)
    if job.state in ("queued", "running"):
        raise NotFinished(f"scan {scan_id} is {job.state}; its state is at /v1/scans/{scan_id}")
    if job.state != "succeeded":
        raise NoResult(f"scan {scan_id} is {job.state}: {job.error or 'it was cancelled'}")
    return scan, job


def _response(given: Resources, scan: Scan, job: Job) -> ScanResponse:
    finished = finished_slabs(given.store.folder_of(scan.id), slices=scan.shape[0], slab_slices=scan.slab_slices)
    progress = progress_of(scan, job, finished)
    here = f"/v1/scans/{scan.id}"
    spacing = scan.frame.spacing
    return ScanResponse(
        id=scan.id,
        filename=scan.upload.filename,
        created=_time(scan.created_seconds),
        state=job.state,
        error=job.error,
        slices_done=progress.slices_done,
        slices_total=progress.slices_total,
        slices_per_second=progress.slices_per_second,
        eta_seconds=progress.eta_seconds,
        finished=_time(job.finished_seconds) if job.finished_seconds else None,
        shape=scan.shape,
        dtype=scan.dtype,
        spacing_mm=(spacing.z, spacing.y, spacing.x),
        model=_model(scan),
        links=Links(self=here, segmentation=f"{here}/segmentation", organs=f"{here}/organs"),
    )


def _model(scan: Scan) -> ModelResponse:
    return ModelResponse(name=scan.model.name, version=scan.model.version, sha256=scan.model.sha256)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _row(row: OrganRow) -> OrganRowResponse:
    return OrganRowResponse(
        index=row.index,
        name=row.name,
        voxels=row.voxels,
        volume_mm3=row.volume_mm3,
        centroid_voxels=row.centroid_voxels,
        centroid_mm=row.centroid_mm,
        box=None if row.box is None else BoxResponse(start=row.box.start, stop=row.box.stop),
        touches_border=row.touches_border,
    )


def _csv(rows: list[OrganRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in rows:
        places = [row.centroid_voxels, row.centroid_mm, row.box and row.box.start, row.box and row.box.stop]
        numbers = [number for place in places for number in (place or ("", "", ""))]
        writer.writerow([row.index, row.name, row.voxels, row.volume_mm3, *numbers, str(row.touches_border).lower()])
    return text.getvalue()


def _disposition(name: str) -> str:
    plain = name.encode("ascii", "replace").decode().replace('"', "_").replace("\\", "_").replace("?", "_")
    exact = quote(name, safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"


def _pieces(path: FilePath, stack: ExitStack) -> Iterator[bytes]:
    with stack, path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
