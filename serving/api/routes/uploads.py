"""/v1/uploads: the tus resumable-upload protocol, 1.0.0, with creation, checksum, expiration and termination."""

from __future__ import annotations

from email.utils import formatdate
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from serving.api.dependencies import CallerResources
from serving.intake.parameters import parse_priority
from serving.intake.tus import Uploads
from serving.intake.tus_headers import CHECKSUMS, UploadRefused, parse_metadata
from serving.parsing.quantities import whole_number

_VERSION = "1.0.0"
_EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination"
_BODY_TYPE = "application/offset+octet-stream"
_HERE = "/v1/uploads"

router = APIRouter(prefix=_HERE, tags=["uploads"])

Number = Annotated[str | None, Header()]


@router.options("")
@router.options("/{upload_id}")
async def describe(resources: CallerResources) -> Response:
    """What of the protocol this server knows."""
    headers = {"Tus-Version": _VERSION, "Tus-Extension": _EXTENSIONS, "Tus-Checksum-Algorithm": ",".join(CHECKSUMS)}
    if resources.uploads.limits.most_bytes is not None:
        headers["Tus-Max-Size"] = str(resources.uploads.limits.most_bytes)
    return _answer(204, headers)


@router.post("", status_code=201)
async def create(  # noqa: PLR0917 - FastAPI passes headers by name
    request: Request,
    resources: CallerResources,
    tus_resumable: Annotated[str | None, Header()] = None,
    upload_length: Number = None,
    upload_defer_length: Number = None,
    upload_metadata: Annotated[str, Header()] = "",
    upload_checksum: Annotated[str | None, Header()] = None,
) -> Response:
    """Begins an upload, whose address is in Location; a body is its first part.

    Refused where the scan that it is to become could not wait; `priority` in Upload-Metadata says which that will have.
    """
    if (refused := _other_version(tus_resumable)) is not None:
        return refused
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


@router.head("/{upload_id}")
async def offset(
    upload_id: str, resources: CallerResources, tus_resumable: Annotated[str | None, Header()] = None
) -> Response:
    """How much has arrived."""
    if (refused := _other_version(tus_resumable)) is not None:
        return refused
    info, present = await run_in_threadpool(resources.uploads.get, upload_id)
    headers = {"Upload-Offset": str(present), "Cache-Control": "no-store"}
    headers |= {"Upload-Defer-Length": "1"} if info.length is None else {"Upload-Length": str(info.length)}
    if info.metadata:
        headers["Upload-Metadata"] = info.metadata
    return _answer(200, headers | _expiry(resources.uploads, upload_id))


@router.patch("/{upload_id}", status_code=204)
async def append(  # noqa: PLR0917 - FastAPI passes headers by name
    request: Request,
    upload_id: str,
    resources: CallerResources,
    tus_resumable: Annotated[str | None, Header()] = None,
    upload_offset: Number = None,
    upload_length: Number = None,
    upload_checksum: Annotated[str | None, Header()] = None,
    content_type: Annotated[str | None, Header()] = None,
) -> Response:
    """Goes on with an upload at its offset."""
    if (refused := _other_version(tus_resumable)) is not None:
        return refused
    if content_type != _BODY_TYPE:
        return _answer(415, {}, f"the Content-Type of a part is {_BODY_TYPE}")
    at = _number("Upload-Offset", upload_offset or "")
    if upload_length is not None:
        length = _number("Upload-Length", upload_length)
        await run_in_threadpool(lambda: resources.uploads.set_length(upload_id, length))
    end = await resources.uploads.append(upload_id, request.stream(), offset=at, checksum=upload_checksum)
    return _answer(204, {"Upload-Offset": str(end)} | _expiry(resources.uploads, upload_id))


@router.delete("/{upload_id}", status_code=204)
async def terminate(
    upload_id: str, resources: CallerResources, tus_resumable: Annotated[str | None, Header()] = None
) -> Response:
    """Gives an upload up; what has arrived of it is removed."""
    if (refused := _other_version(tus_resumable)) is not None:
        return refused
    await run_in_threadpool(resources.uploads.get, upload_id)
    await run_in_threadpool(resources.uploads.remove, upload_id)
    return _answer(204, {})


def _answer(status: int, headers: dict[str, str], text: str = "") -> Response:
    return Response(text, status_code=status, headers={"Tus-Resumable": _VERSION, **headers})


def _other_version(stated: str | None) -> Response | None:
    if stated == _VERSION:
        return None
    return _answer(412, {"Tus-Version": _VERSION}, f"the header Tus-Resumable must be {_VERSION}")


def _number(name: str, text: str) -> int:
    return whole_number(text, name=name, refused=UploadRefused)


def _expiry(uploads: Uploads, upload_id: str) -> dict[str, str]:
    return {"Upload-Expires": formatdate(uploads.expires(upload_id), usegmt=True)}
