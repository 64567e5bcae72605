"""/v1/scans/ID/segmentation(s): segmentations that people have put right come back as versions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from serving.api.correction_schemas import (
    CorrectionParameters,
    OrganChangeResponse,
    VersionResponse,
    VersionsResponse,
)
from serving.api.dependencies import CallerResources, database_answers
from serving.api.document import BINARY, BODY, refusals
from serving.api.finished import finished
from serving.api.responses import ScanId, model_response
from serving.api.schemas import OrganResponse
from serving.auth.authentication import NotAllowed
from serving.intake.body import stated_sha256
from serving.intake.correction_intake import CorrectionRequest
from serving.intake.parameters import parse_dataset
from serving.intake.refusals import RequestRefused
from serving.observability.reasons import without_paths
from serving.parsing.quantities import optional_number
from serving.queue.jobs import Job
from serving.queue.scan import Scan
from serving.segmentation.correction import MODELS_ANSWER, Correction

router = APIRouter(
    prefix="/v1/scans", tags=["corrections"], responses=refusals(409), dependencies=[Depends(database_answers)]
)


@router.put(
    "/{scan_id}/segmentation",
    status_code=201,
    summary="Correct the segmentation",
    responses={
        200: {"model": VersionResponse, "description": "The same author has sent the same file before."},
        **refusals(*BODY, 415, 422, 507),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file itself: the class of every voxel of the scan, in any format that is read. Its "
            "axes may run otherwise than the scan's; segments of 3D Slicer go by their names.",
            "content": {"application/octet-stream": {"schema": BINARY}},
        }
    },
)
async def put_segmentation(
    request: Request,
    response: Response,
    resources: CallerResources,
    scan_id: ScanId,
    query: Annotated[CorrectionParameters, Query()],
) -> VersionResponse:
    """Takes a corrected segmentation in, as the next version; it is durable when this is answered."""
    scan, job = await run_in_threadpool(finished, resources, scan_id)
    wanted = CorrectionRequest(
        filename=query.filename,
        dataset=parse_dataset(query.dataset),
        sha256=_digest(request, query),
        length=optional_number(request.headers.get("content-length")),
    )
    correction, known = await resources.correction_intake.receive(scan, job, request.stream(), wanted)
    answer = _version(scan, correction)
    response.headers["Location"] = answer.links["segmentation"]
    if known:
        response.status_code = 200
    return answer


@router.get("/{scan_id}/segmentations", summary="List versions of the segmentation")
def list_segmentations(resources: CallerResources, scan_id: ScanId) -> VersionsResponse:
    """The model's answer and every correction of it: who sent it, when, and what it changed."""
    scan, job = finished(resources, scan_id)
    corrected = [_version(scan, correction) for correction in resources.corrections.of_scan(scan.id)]
    return VersionsResponse(
        scan=scan.id,
        filename=scan.upload.filename,
        sha256=scan.upload.sha256,
        model=model_response(scan),
        organs=[OrganResponse(**vars(organ)) for organ in scan.organs.organs],
        versions=[_models_answer(scan, job), *corrected],
    )


@router.delete("/{scan_id}/segmentations/{version}", status_code=204, summary="Remove a correction")
def delete_segmentation(
    resources: CallerResources,
    scan_id: ScanId,
    version: Annotated[int, Path(ge=1, le=(1 << 31) - 1, description="Its number, from 1.")],
) -> None:
    """Removes a correction and its files: for who sent it, and for admins. Its number is not given again."""
    scan, _ = finished(resources, scan_id)
    correction = resources.corrections.get(scan.id, version)
    if not resources.caller.sees(correction.author):
        raise NotAllowed(f"version {version} of scan {scan_id} is another's; its author or an admin may remove it")
    resources.corrections.remove(correction)


def _digest(request: Request, query: CorrectionParameters) -> str | None:
    """The SHA-256 that the query or a header states. Raises RequestRefused where they differ."""
    headers = request.headers
    stated = stated_sha256(*headers.getlist("content-digest"), *headers.getlist("repr-digest"))
    asked = None if query.sha256 is None else query.sha256.lower()
    if stated and asked and stated != asked:
        raise RequestRefused("the digest in the header is not the one in the query", field="sha256")
    return asked or stated


def _version(scan: Scan, correction: Correction) -> VersionResponse:
    sent, findings = correction.sent, correction.findings
    return VersionResponse(
        version=correction.number,
        created=datetime.fromtimestamp(correction.created_seconds, UTC),
        author=correction.author,
        filename=sent.filename,
        sha256=sent.sha256,
        bytes=sent.bytes,
        labels_sha256=findings.labels_sha256,
        not_labelled=findings.not_labelled,
        notes=[without_paths(note) for note in correction.notes],
        changes=[OrganChangeResponse(**vars(change)) for change in findings.changes(scan.organs)],
        links=_links(correction.scan_id, correction.number),
    )


def _models_answer(scan: Scan, job: Job) -> VersionResponse:
    return VersionResponse(
        version=MODELS_ANSWER,
        created=datetime.fromtimestamp(job.finished_seconds or scan.created_seconds, UTC),
        author=None,
        filename=None,
        sha256=None,
        bytes=None,
        labels_sha256=None,
        not_labelled=0,
        notes=[],
        changes=[],
        links=_links(scan.id, MODELS_ANSWER),
    )


def _links(scan_id: str, version: int) -> dict[str, str]:
    here = f"/v1/scans/{scan_id}"
    return {what: f"{here}/{what}?version={version}" for what in ("segmentation", "organs")}
