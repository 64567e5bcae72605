"""/v1/uploads: the tus resumable-upload protocol, 1.0.0, with creation, checksum, expiration and termination."""

from __future__ import annotations

from email.utils import formatdate
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from serving.api.dependencies import CallerResources
from serving.api.document import BODY, refusals
from serving.intake.parameters import parse_priority
from serving.intake.tus import Uploads
from serving.intake.tus_headers import (
    CHECKSUMS,
    TUS_VERSION,
    NoPart,
    OtherVersion,
    UploadRefused,
    parse_metadata,
)
from serving.parsing.quantities import whole_number

_EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination"
_BODY_TYPE = "application/offset+octet-stream"
_HERE = "/v1/uploads"

router = APIRouter(prefix=_HERE, tags=["uploads"], responses=refusals(507))

_DIGITS = {"pattern": "^[0-9]{1,15}$"}
Number = Annotated[str | None, Header(json_schema_extra=_DIGITS)]
Version = Annotated[str | None, Header(json_schema_extra={"enum": [TUS_VERSION]}, description="Has to be there.")]
Checksum = Annotated[str | None, Header(description=f"{' or '.join(CHECKSUMS)}, a space, and the part's in Base64.")]
_PART: dict[str, Any] = {"requestBody": {"content": {_BODY_TYPE: {"schema": {"type": "string", "format": "binary"}}}}}


@router.post(
    "",
    status_code=201,
    summary="Begin an upload",
    response_class=Response,
    responses=refusals(*BODY, 404, 409, 412, 460),
    openapi_extra=_PART,
)
async def create_upload(  # noqa: PLR0917 - FastAPI passes headers by name
    request: Request,
    resources: CallerResources,
    tus_resumable: Version = None,
    upload_length: Number = None,
    upload_defer_length: Number = None,
    upload_metadata: Annotated[str, Header()] = "",
    upload_checksum: Checksum = None,
) -> Response:
    """Begins an upload, whose address is in Location; a body is its first part.

    Refused where the scan that it is to become could not wait; `priority` in Upload-Metadata says which that will have.
    """
    _check_version(tus_resumable)
    if (upload_length is None) == (upload_defer_length is None) or upload_defer_length not in (None, "1"):
        raise UploadRefused("give Upload-Length, or Upload-Defer-Length: 1 where it is not known yet")
    length = None if upload_length is None else _number("Upload-Length", upload_length)
    priority = parse_priority(parse_metadata(upload_metadata).get("priority", "normal"))
    await resources.admission.check(priority, length or 0)
    info = await run_in_threadpool(lambda: resources.uploads.create(length=length, metadata=upload_metadata))
    headers = {"Location": f"{_HERE}/{info.id}"}
    if request.headers.get("content-type") == _BODY_TYPE:
        offset = await resources.uploads.append(info.id, request.stream(), offset=0, checksum=upload_checksum)
        headers["Upload-Offset"] = str(offset)
    return _answer(201, headers | _expiry(resources.uploads, info.id))


@router.head("/{upload_id}", summary="How far an upload is", response_class=Response, responses=refusals(409, 412))
async def get_upload_offset(upload_id: str, resources: CallerResources, tus_resumable: Version = None) -> Response:
    """How much has arrived."""
    _check_version(tus_resumable)
    info, present = await run_in_threadpool(resources.uploads.get, upload_id)
    headers = {"Upload-Offset": str(present), "Cache-Control": "no-store"}
    headers |= {"Upload-Defer-Length": "1"} if info.length is None else {"Upload-Length": str(info.length)}
    if info.metadata:
        headers["Upload-Metadata"] = info.metadata
    return _answer(200, headers | _expiry(resources.uploads, upload_id))


@router.patch(
    "/{upload_id}",
    status_code=204,
    summary="Go on with an upload",
    responses=refusals(*BODY, 409, 412, 415, 460),
    openapi_extra=_PART,
)
async def append_to_upload(  # noqa: PLR0917 - FastAPI passes headers by name
    request: Request,
    upload_id: str,
    resources: CallerResources,
    tus_resumable: Version = None,
    upload_offset: Number = None,
    upload_length: Number = None,
    upload_checksum: Checksum = None,
    content_type: Annotated[str | None, Header()] = None,
) -> Response:
    """Goes on with an upload at its offset."""
    _check_version(tus_resumable)
    if content_type != _BODY_TYPE:
        raise NoPart(f"the Content-Type of a part is {_BODY_TYPE}")
    at = _number("Upload-Offset", upload_offset or "")
    if upload_length is not None:
        length = _number("Upload-Length", upload_length)
        await run_in_threadpool(lambda: resources.uploads.set_length(upload_id, length))
    end = await resources.uploads.append(upload_id, request.stream(), offset=at, checksum=upload_checksum)
    return _answer(204, {"Upload-Offset": str(end)} | _expiry(resources.uploads, upload_id))


@router.delete("/{upload_id}", status_code=204, summary="Give an upload up", responses=refusals(409, 412))
async def delete_upload(upload_id: str, resources: CallerResources, tus_resumable: Version = None) -> Response:
    """Gives an upload up; what has arrived of it is removed."""
    _check_version(tus_resumable)
    await run_in_threadpool(resources.uploads.get, upload_id)
    await run_in_threadpool(resources.uploads.remove, upload_id)
    return _answer(204, {})


@router.options("", status_code=204, summary="What the server knows of tus", operation_id="describe_uploads")
@router.options("/{upload_id}", status_code=204, summary="The same, asked of an upload")
async def describe_upload(resources: CallerResources) -> Response:
    """What of the protocol this server knows."""
    headers = {"Tus-Version": TUS_VERSION, "Tus-Extension": _EXTENSIONS, "Tus-Checksum-Algorithm": ",".join(CHECKSUMS)}
    if resources.uploads.limits.most_bytes is not None:
        headers["Tus-Max-Size"] = str(resources.uploads.limits.most_bytes)
    return _answer(204, headers)


def _answer(status: int, headers: dict[str, str]) -> Response:
    return Response(status_code=status, headers={"Tus-Resumable": TUS_VERSION, **headers})


def _check_version(stated: str | None) -> None:
    if stated != TUS_VERSION:
        raise OtherVersion(f"the header Tus-Resumable must be {TUS_VERSION}")


def _number(name: str, text: str) -> int:
    return whole_number(text, name=name, refused=UploadRefused)


def _expiry(uploads: Uploads, upload_id: str) -> dict[str, str]:
    return {"Upload-Expires": formatdate(uploads.expires(upload_id), usegmt=True)}
