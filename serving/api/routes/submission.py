"""POST /v1/scans: bytes, or where they are, in; a queued scan out."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from serving.api.bodies import short_body
from serving.api.dependencies import CallerResources, Resources, database_answers, segmentation_model
from serving.api.document import BINARY, BODY, reference, refusals
from serving.api.responses import scan_response
from serving.api.schemas import ScanParameters, ScanRequest, ScanResponse
from serving.intake.body import as_stated, check_digest, stated_sha256
from serving.intake.parameters import Parameters, parse_dataset, parse_priority, parse_spacing, together
from serving.intake.refusals import RequestRefused
from serving.parsing.quantities import optional_number
from serving.parsing.texts import checked_name
from serving.queue.scan import Scan

_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {**ScanParameters.model_json_schema()["properties"], "file": BINARY},
}

router = APIRouter(prefix="/v1/scans", tags=["scans"], dependencies=[Depends(database_answers)])


@router.post(
    "",
    status_code=202,
    summary="Post a scan",
    responses={
        200: {"model": ScanResponse, "description": "The same file is segmented already."},
        **refusals(*BODY, 404, 409, 415, 422, 507),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file itself, as it is on disk (a DICOM or TIFF series as a zip of its files); or a "
            "form with it; or JSON that says where it is.",
            "content": {
                "application/octet-stream": {"schema": BINARY},
                "multipart/form-data": {"schema": _FORM},
                "application/json": {"schema": reference(ScanRequest)},
            },
        }
    },
)
async def post_scan(
    request: Request,
    response: Response,
    resources: CallerResources,
    query: Annotated[ScanParameters, Query()],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> ScanResponse:
    """Takes a scan in, verifies every voxel of it, and queues it; or finds the one that it was before."""
    segmentation_model(resources)
    if idempotency_key is not None:
        checked_name(idempotency_key, name="Idempotency-Key", refused=partial(RequestRefused, field="idempotency-key"))
    parameters = _parameters(query, key=idempotency_key)
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind == "application/json":
        scan = await _from_elsewhere(request, resources, parameters, stated=_stated(query))
    elif kind == "multipart/form-data":
        content_type = request.headers["content-type"]
        form = as_stated(request.stream(), _digest(request), name="the form")
        scan = await resources.intake.receive_form(form, parameters, content_type=content_type, stated=_stated(query))
    else:
        scan = await _from_body(request, resources, parameters)
    response.headers["Location"] = f"/v1/scans/{scan.id}"
    answer = scan_response(*await run_in_threadpool(resources.jobs.get, scan.id))
    if answer.state == "succeeded":
        response.status_code = 200
    return answer


async def _from_body(request: Request, resources: Resources, parameters: Parameters) -> Scan:
    stated = _digest(request)
    if stated and parameters.sha256 and stated != parameters.sha256:
        raise RequestRefused("the digest in the header is not the one in the query", field="sha256")
    length = optional_number(request.headers.get("content-length"))
    return await resources.intake.receive(request.stream(), parameters.stating(stated), length=length)


async def _from_elsewhere(
    request: Request, resources: Resources, parameters: Parameters, *, stated: Collection[str]
) -> Scan:
    """`stated` are the parameters that the query states; they count beside those of the JSON."""
    body = await short_body(request, resources)
    check_digest(hashlib.sha256(body).hexdigest(), _digest(request), name="the JSON")
    try:
        named = ScanRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise RequestRefused(f"{field}: {first['msg']}", field=field) from None
    parameters = together(parameters, _parameters(named, key=parameters.key), by_query=stated, by_json=_stated(named))
    if named.source.upload is not None:
        return await resources.intake.take_upload(named.source.upload, parameters)
    scan = await resources.intake.fetch(named.source.uri or "", parameters)
    await resources.auth.quotas.add_bytes(resources.caller.key_id, scan.upload.bytes)
    return scan


def _digest(request: Request) -> str | None:
    """The SHA-256 that a header states of the body, be that the file, a form or JSON."""
    return stated_sha256(*request.headers.getlist("content-digest"), *request.headers.getlist("repr-digest"))


def _stated(parameters: ScanParameters) -> frozenset[str]:
    """Names of the parameters that are there; null says nothing."""
    return frozenset(name for name in parameters.model_fields_set if getattr(parameters, name) is not None)


def _parameters(stated: ScanParameters, *, key: str | None) -> Parameters:
    return Parameters(
        filename=stated.filename,
        spacing=parse_spacing(stated.spacing),
        priority=parse_priority(stated.priority),
        fresh=stated.fresh,
        key=key,
        sha256=None if stated.sha256 is None else stated.sha256.lower(),
        model=stated.model,
        version=stated.version,
        dataset=parse_dataset(stated.dataset),
    )
