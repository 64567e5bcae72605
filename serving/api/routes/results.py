"""/v1/scans/ID/...: what came of a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, StreamingResponse

from scans.formats import DICOM_SEG, DOWNLOADS, stem
from scans.formats.label_names import itk_snap_labels
from scans.measures.statistics import OrganRow
from scans.model.expected_dice import ExpectedDice
from scans.model.judgement import OrganQuality
from serving.api.csv_answers import OR_CSV, AsCsv, csv_text
from serving.api.dependencies import CallerResources, Resources, database_answers
from serving.api.document import BINARY, refusals
from serving.api.finished import disposition, finished
from serving.api.problems import NoResult
from serving.api.query import Flag
from serving.api.responses import ScanId, model_response, quality_response
from serving.api.schemas import (
    BoxResponse,
    OrganRowResponse,
    OrgansResponse,
    SliceQualityResponse,
    SlicesQualityResponse,
)
from serving.api.versions import Version, segmented
from serving.queue.scan import Scan
from serving.segmentation.pictures import PictureStyle
from serving.segmentation.results import IMAGE_SUFFIXES, Axis, Download

_CSV_COLUMNS = (
    *("index", "name", "voxels", "volume_mm3", "centroid_z", "centroid_y", "centroid_x"),
    *("centroid_x_mm", "centroid_y_mm", "centroid_z_mm"),
    *("start_z", "start_y", "start_x", "stop_z", "stop_y", "stop_x", "touches_border"),
    *("quality", "quality_low", "quality_high", "good", "slices"),
)
_WITH_SCAN = "Whether the scan is in it too, as an image that has the segmentation as its labels: in ome-zarr alone."
_QUALITY_COLUMNS = ("slice", "good", "organ_voxels")

router = APIRouter(
    prefix="/v1/scans", tags=["results"], responses=refusals(409), dependencies=[Depends(database_answers)]
)


@router.get(
    "/{scan_id}/segmentation",
    summary="Fetch the segmentation",
    response_class=StreamingResponse,
    responses={200: {"content": {download.media_type: {"schema": BINARY} for download in DOWNLOADS.values()}}},
)
async def get_segmentation(
    resources: CallerResources,
    scan_id: ScanId,
    format_name: Annotated[str, Query(alias="format", json_schema_extra={"enum": list(DOWNLOADS)})] = "nii.gz",
    with_scan: Annotated[Flag, Query(alias="scan", description=_WITH_SCAN)] = False,
    version: Version = None,
) -> StreamingResponse:
    """The class index of every voxel, with the frame of the scan; made while it is sent.

    Of a correction, 255 is where nobody has looked.
    """
    found = await run_in_threadpool(segmented, resources, scan_id, version)
    make = partial(resources.results.download, found.scan, found.job, format_name)
    make = partial(make, with_scan=with_scan, correction=found.correction)
    return await _sent(resources, make, whole=format_name == DICOM_SEG.name)


@router.get(
    "/{scan_id}/image",
    summary="Fetch the scan",
    response_class=StreamingResponse,
    responses={200: {"content": {DOWNLOADS[name].media_type: {"schema": BINARY} for name in IMAGE_SUFFIXES}}},
)
async def get_image(
    resources: CallerResources,
    scan_id: ScanId,
    format_name: Annotated[str, Query(alias="format", json_schema_extra={"enum": list(IMAGE_SUFFIXES)})] = "nii.gz",
) -> StreamingResponse:
    """The grey values of a finished scan as they were accepted, with its frame; made while it is sent."""
    scan, _ = await run_in_threadpool(finished, resources, scan_id)
    return await _sent(resources, partial(resources.results.image, scan, format_name))


async def _sent(resources: Resources, make: Callable[[], Download], *, whole: bool = False) -> StreamingResponse:
    threads = resources.slow_answers
    download = await (threads.whole if whole else threads.make)(make)
    headers = {"Content-Disposition": disposition(download.filename)}
    if download.length is not None:
        headers["Content-Length"] = str(download.length)
    pieces = threads.pieces(download.pieces)
    return StreamingResponse(pieces, media_type=download.media_type, headers=headers)


@router.get("/{scan_id}/organs", summary="Size and place of organs", response_model=OrgansResponse, responses=OR_CSV)
def get_organs(
    resources: CallerResources, scan_id: ScanId, as_csv: AsCsv, version: Version = None
) -> Response | OrgansResponse:
    """Size, place and extent of every organ, as JSON, or as CSV where `format` or the Accept header asks for it.

    What is expected of organs is said of the model's answer alone.
    """
    found = segmented(resources, scan_id, version)
    scan, job = found.scan, found.job
    if found.statistics is None:
        raise NoResult(f"scan {scan_id} has no statistics")
    rows = found.statistics.table(scan.organs, scan.frame, scan.shape)
    judged = job.judgement.of_organs() if job.judgement and found.correction is None else []
    qualities: Sequence[OrganQuality | None] = judged or [None] * len(rows)
    expected = [_expected(scan, row, quality) for row, quality in zip(rows, qualities, strict=True)]
    if as_csv:
        return Response(_csv(rows, qualities, expected), media_type="text/csv")
    organs = [_row(*of_organ) for of_organ in zip(rows, qualities, expected, strict=True)]
    rate = None if scan.dice_calibration is None else scan.dice_calibration.rate
    return OrgansResponse(
        scan=scan.id, model=model_response(scan), version=found.version, quality_rate=rate, organs=organs
    )


@router.get("/{scan_id}/labels", summary="Names and colours of labels", response_class=PlainTextResponse)
def get_labels(resources: CallerResources, scan_id: ScanId) -> PlainTextResponse:
    """Index, colour and name of every label, as a label description that ITK-SNAP imports."""
    scan, _ = finished(resources, scan_id)
    name = f"{stem(Path(scan.upload.filename))}_labels.txt"
    headers = {"Content-Disposition": disposition(name)}
    return PlainTextResponse(itk_snap_labels(scan.organs), headers=headers)


@router.get("/{scan_id}/quality", summary="Quality of slices", response_model=SlicesQualityResponse, responses=OR_CSV)
def get_quality(resources: CallerResources, scan_id: ScanId, as_csv: AsCsv) -> Response | SlicesQualityResponse:
    """How good the segmentation of each slice seems to the Quality Classifier, as JSON or CSV, like the organs."""
    scan, job = finished(resources, scan_id)
    quality = quality_response(scan, job)
    if quality is None or job.judgement is None:
        raise NoResult(f"scan {scan_id} was segmented with a model that has no Quality Classifier")
    judged = enumerate(zip(job.judgement.good, job.judgement.organ_voxels, strict=True))
    slices = [SliceQualityResponse(slice=z, good=good, organ_voxels=voxels) for z, (good, voxels) in judged]
    if as_csv:
        rows = [[row.slice, row.good, row.organ_voxels] for row in slices]
        return Response(csv_text(_QUALITY_COLUMNS, rows), media_type="text/csv")
    return SlicesQualityResponse(scan=scan.id, model=model_response(scan), quality=quality, slices=slices)


@router.get(
    "/{scan_id}/slices/{axis}/{index}.png",
    summary="A slice as a picture",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": BINARY}}}},
)
async def get_slice(  # noqa: PLR0917 - FastAPI passes parameters by name
    resources: CallerResources,
    scan_id: ScanId,
    axis: Axis,
    index: int,
    opacity: Annotated[float, Query(ge=0, le=1, description="Of the organs' colour.")] = 0.45,
    scale_bar: Annotated[Flag, Query(description="With a bar that says how long it is.")] = False,
    legend: Annotated[Flag, Query(description="With the colours and names of the model's organs.")] = False,
    version: Version = None,
) -> Response:
    """A slice of the scan, its organs laid over it, in its true proportions: a pixel is as high as it is wide in mm."""
    jobs = resources.shown_jobs
    found = await run_in_threadpool(segmented, resources, scan_id, version, of=jobs)
    style = PictureStyle(opacity=opacity, scale_bar=scale_bar, legend=legend)
    draw = partial(resources.results.picture, found.scan, found.job, axis, index)
    draw = partial(draw, style=style, correction=found.correction)
    return Response(await resources.slow_answers.drawn(draw), media_type="image/png")


def _expected(scan: Scan, row: OrganRow, quality: OrganQuality | None) -> ExpectedDice | None:
    """The Dice that is expected of an organ; None where nobody can say."""
    if scan.dice_calibration is None or quality is None or quality.dice is None:
        return None
    return scan.dice_calibration.expected(row.index, quality.dice)


def _row(row: OrganRow, quality: OrganQuality | None, expected: ExpectedDice | None) -> OrganRowResponse:
    return OrganRowResponse(
        index=row.index,
        name=row.name,
        voxels=row.voxels,
        volume_mm3=row.volume_mm3,
        centroid_voxels=row.centroid_voxels,
        centroid_mm=row.centroid_mm,
        box=None if row.box is None else BoxResponse(start=row.box.start, stop=row.box.stop),
        touches_border=row.touches_border,
        quality=None if expected is None else expected.dice,
        quality_low=None if expected is None else expected.low,
        quality_high=None if expected is None else expected.high,
        good=None if quality is None else quality.good,
        slices=None if quality is None else quality.slices,
    )


def _csv(
    rows: Sequence[OrganRow], qualities: Sequence[OrganQuality | None], expectations: Sequence[ExpectedDice | None]
) -> str:
    lines: list[list[object]] = []
    for row, quality, expected in zip(rows, qualities, expectations, strict=True):
        places = [row.centroid_voxels, row.centroid_mm, row.box and row.box.start, row.box and row.box.stop]
        numbers = [number for place in places for number in (place or ("", "", ""))]
        judged = ("", "") if quality is None else ("" if quality.good is None else quality.good, quality.slices)
        border = str(row.touches_border).lower()
        dice = ("", "", "") if expected is None else (expected.dice, expected.low, expected.high)
        lines.append([row.index, row.name, row.voxels, row.volume_mm3, *numbers, border, *dice, *judged])
    return csv_text(_CSV_COLUMNS, lines)
