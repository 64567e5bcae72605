"""/v1/scans/ID/NAME.ome.zarr/...: pyramids of a scan as they are stored, for viewers and for zarr over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from scans.checksums import checksum
from serving.api.dependencies import CallerResources, Resources, database_answers
from serving.api.document import BINARY, refusals
from serving.api.known_stores import Asked, Store
from serving.api.labels_in_image import GROUP_FILE, label_file, label_group
from serving.api.problem_table import NoResult
from serving.api.ranges import asked_range, has_changed
from serving.api.responses import ScanId
from serving.api.versions import segmented
from serving.observability.reasons import without_paths
from serving.queue.jobs import ENDED
from serving.segmentation.served_files import PIECE_BYTES, KeptPyramid, NoFile, NotCompared, ServedFile
from serving.segmentation.stored_segmentation import noted_files
from serving.storage import DataDamaged
from serving.storage.contract import IMAGE_DIR, RESULT_DIR

_ASKED_AGAIN: Final = "private, no-cache"
"""A copy is used once the server has said that it is still the same, and that whoever asks may still have it."""
_TYPES: Final = {".json": "application/json"}
_SHARD: Final = "application/octet-stream"
_WHOLE, _IN_PART = 200, 206
_PARTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The whole file.", "content": {_SHARD: {"schema": BINARY}, "application/json": {}}},
    206: {"description": "The part that Range asks for.", "content": {_SHARD: {"schema": BINARY}}},
    304: {"description": "The sender has it."},
    **refusals(416),
}

router = APIRouter(
    prefix="/v1/scans", tags=["results"], responses=refusals(409), dependencies=[Depends(database_answers)]
)

_FILE: Final[dict[str, Any]] = {"response_class": Response, "responses": _PARTS}
_HEAD: Final[dict[str, Any]] = {"response_class": Response, "responses": {304: _PARTS[304]}}

StoredName = Annotated[
    str, Path(description="A file of the store, such as zarr.json, 0/zarr.json or 0/c/0/0/0.", max_length=200)
]
Correction = Annotated[int, Path(ge=0, le=(1 << 31) - 1, description="0 is the model's answer.")]
Ranged = Annotated[
    str | None, Header(alias="Range", description="One range of bytes, such as bytes=0-99 or bytes=-16.")
]


Finding = Callable[[Resources, str], Store]
"""Resources and a scan's id -> one of its pyramids, and what it is of."""


@router.get("/{scan_id}/image.ome.zarr/{name:path}", summary="A file of the scan's store", **_FILE)
async def get_image_file(
    request: Request, resources: CallerResources, scan_id: ScanId, name: StoredName, _range: Ranged = None
) -> Response:
    """The grey values as an OME-Zarr that programs open by its address, and read as little of as they need. Below it,
    as `labels/segmentation` and `labels/correction_1`, are its organs."""
    return await _answer_in_image(request, resources, scan_id, name)


@router.head("/{scan_id}/image.ome.zarr/{name:path}", summary="How long a file of the scan's store is", **_HEAD)
async def head_image_file(request: Request, resources: CallerResources, scan_id: ScanId, name: StoredName) -> Response:
    """Its length and version, without the file."""
    return await _answer_in_image(request, resources, scan_id, name)


@router.get("/{scan_id}/segmentation.ome.zarr/{name:path}", summary="A file of the segmentation's store", **_FILE)
async def get_segmentation_file(
    request: Request, resources: CallerResources, scan_id: ScanId, name: StoredName, _range: Ranged = None
) -> Response:
    """The model's answer in the same way. While a scan is under way it holds the slabs that are finished."""
    return await _answer(request, resources, scan_id, name, _answered, store=RESULT_DIR)


@router.head(
    "/{scan_id}/segmentation.ome.zarr/{name:path}", summary="How long a file of the segmentation's store is", **_HEAD
)
async def head_segmentation_file(
    request: Request, resources: CallerResources, scan_id: ScanId, name: StoredName
) -> Response:
    """Its length and version, without the file."""
    return await _answer(request, resources, scan_id, name, _answered, store=RESULT_DIR)


@router.get(
    "/{scan_id}/segmentations/{version}.ome.zarr/{name:path}", summary="A file of a correction's store", **_FILE
)
async def get_correction_file(
    request: Request,
    resources: CallerResources,
    scan_id: ScanId,
    version: Correction,
    name: StoredName,
    _range: Ranged = None,
) -> Response:
    """A correction in the same way; 255 is where nobody has looked."""
    find = partial(_corrected, version=version)
    return await _answer(request, resources, scan_id, name, find, store=f"segmentations/{version}")


@router.head(
    "/{scan_id}/segmentations/{version}.ome.zarr/{name:path}",
    summary="How long a file of a correction's store is",
    **_HEAD,
)
async def head_correction_file(
    request: Request, resources: CallerResources, scan_id: ScanId, version: Correction, name: StoredName
) -> Response:
    """Its length and version, without the file."""
    find = partial(_corrected, version=version)
    return await _answer(request, resources, scan_id, name, find, store=f"segmentations/{version}")


def _image(resources: Resources, scan_id: str) -> Store:
    scan, job = resources.jobs.get(scan_id)
    return KeptPyramid(IMAGE_DIR, scan.image_checksums), scan, job


def _answered(resources: Resources, scan_id: str) -> Store:
    scan, job = resources.jobs.get(scan_id)
    if job.state in ENDED and job.state != "succeeded":
        raise NoResult(f"scan {scan_id} is {job.state}: {without_paths(job.error or 'it was cancelled')}")
    files = noted_files(scan, job.checksums) if job.state == "succeeded" else job.checksums
    return KeptPyramid(RESULT_DIR, files), scan, job


def _corrected(resources: Resources, scan_id: str, *, version: int) -> Store:
    found = segmented(resources, scan_id, version)
    if found.correction is None:
        return _answered(resources, scan_id)
    return KeptPyramid(found.correction.place, found.correction.checksums), found.scan, found.job


async def _answer_in_image(request: Request, resources: Resources, scan_id: str, name: str) -> Response:
    if name == GROUP_FILE:
        group = await run_in_threadpool(label_group, resources, scan_id)
        if group is None:
            raise NoFile(f"scan {scan_id} has no labels")
        tag = f'"{checksum(group)}"'
        headers = {"ETag": tag, "Cache-Control": _ASKED_AGAIN, "Content-Length": str(len(group))}
        if not has_changed(request.headers, tag):
            return Response(status_code=304, headers={"ETag": tag, "Cache-Control": _ASKED_AGAIN})
        return Response(None if request.method == "HEAD" else group, headers=headers, media_type=_TYPES[".json"])
    if (of_labels := label_file(name)) is None:
        return await _answer(request, resources, scan_id, name, _image, store=IMAGE_DIR)
    version, below = of_labels
    if not version:
        return await _answer(request, resources, scan_id, below, _answered, store=RESULT_DIR)
    find = partial(_corrected, version=version)
    return await _answer(request, resources, scan_id, below, find, store=f"segmentations/{version}")


async def _answer(
    request: Request, resources: Resources, scan_id: str, name: str, find: Finding, *, store: str
) -> Response:
    asked = Asked(resources.caller, scan_id, store)
    known = resources.known_stores.get(asked)
    look = partial(resources.known_stores.found, asked, partial(find, resources, scan_id))
    found = await run_in_threadpool(look) if known is None else known
    try:
        return await _of(request, resources, found, name)
    except DataDamaged:
        resources.known_stores.forget(scan_id)
        if known is None:
            raise
        found = await run_in_threadpool(look)  # which raises where it was removed a moment ago, in another process
        if found[2].state != known[2].state:
            raise
    return await _of(request, resources, found, name)


async def _of(request: Request, resources: Resources, found: Store, name: str) -> Response:
    """In one turn of a thread, but for files that were never compared and for long answers."""
    pyramid, scan, job = found
    work = partial(_ready, resources, found, name, request.headers, request.method)
    try:
        ready = await resources.slow_answers.make(work)
    except NotCompared:
        await resources.slow_answers.compared(partial(resources.results.stored_file, scan, pyramid, name))
        ready = await resources.slow_answers.make(work)
    if ready is None:
        raise NoFile(f"{pyramid.place} of scan {scan.id} has no file {name[:200]!r}" + _yet(job.state))
    file, part, content = ready
    headers = {"ETag": _tag(file), "Accept-Ranges": "bytes", "Cache-Control": _ASKED_AGAIN}
    if part is None:
        return Response(status_code=304, headers=headers)
    headers |= part.headers(file.size)
    kind = _TYPES.get(PurePosixPath(name).suffix, _SHARD)
    if content is not None or request.method == "HEAD":
        return Response(content, part.status, headers, kind)
    pieces = resources.slow_answers.pieces(resources.results.stored_pieces(scan, file, part.start, part.stop))
    return StreamingResponse(pieces, part.status, headers, kind)


@dataclass(frozen=True)
class _Part:
    """What of a file is sent."""

    start: int
    stop: int
    status: int

    def headers(self, size: int) -> dict[str, str]:
        length = {"Content-Length": str(self.stop - self.start)}
        if self.status == _WHOLE:
            return length
        return length | {"Content-Range": f"bytes {self.start}-{self.stop - 1}/{size}"}


_Ready = tuple[ServedFile, _Part | None, bytes | None]
"""The file, the part that is asked for (None: the sender has it), and its bytes where they are few."""


def _ready(resources: Resources, found: Store, name: str, headers: Mapping[str, str], method: str) -> _Ready | None:
    pyramid, scan, _ = found
    file = resources.results.stored_file(scan, pyramid, name, compare=False)
    if file is None:
        return None
    if not has_changed(headers, _tag(file)):
        return file, None, None
    if method == "HEAD":
        return file, _Part(0, file.size, _WHOLE), None
    asked = asked_range(headers, size=file.size, tag=_tag(file))
    part = _Part(0, file.size, _WHOLE) if asked is None else _Part(*asked, _IN_PART)
    if part.stop - part.start > PIECE_BYTES:
        return file, part, None
    return file, part, b"".join(resources.results.stored_pieces(scan, file, part.start, part.stop))


def _tag(file: ServedFile) -> str:
    return f'"{file.checksum or file.stamp.mark}"'


def _yet(state: str) -> str:
    return "" if state == "succeeded" else f" yet: it is {state}"
