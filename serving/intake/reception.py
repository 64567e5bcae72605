"""Reception: scans are taken in, whichever way they come: as a body, a form, a resumable upload, from where they lie.

What has arrived is accepted (`acceptance`), in the threads that are for scans of its size (`pools`).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from scans.model.manifest import file_sha256
from serving.inference.backpressure import QueueFull
from serving.intake.acceptance import SOURCE_DIR, Acceptance, upload_key
from serving.intake.admission import Admission, Place
from serving.intake.body import MOST_BODY_BYTES, check_digest, not_silent, receive, whole
from serving.intake.filename import folder_of
from serving.intake.incoming import incoming_folder
from serving.intake.limits import HeavyVolume
from serving.intake.multipart import Form
from serving.intake.parameters import Parameters, parameters_in_form
from serving.intake.pools import LIGHT_BYTES, Pools
from serving.intake.refusals import AcceptanceUnderWay, RequestRefused
from serving.intake.sources import Source, Sources
from serving.intake.tus import UploadNotFound, Uploads
from serving.models.served import LoadedModel, Models
from serving.observability import logs
from serving.parsing.texts import is_name
from serving.queue.jobs import Jobs, ScanNotFound
from serving.queue.scan import Scan, Upload
from serving.storage import Scratch

Answer = TypeVar("Answer")

_ACCEPTING_SECONDS = 60.0
_LOOKING_SECONDS = 0.05


class Intake:
    """Takes scans in. All ways raise FormatError for a bad file, and what their parts do. For one event loop."""

    def __init__(
        self,
        acceptance: Acceptance,
        *,
        scratch: Scratch,
        models: Models,
        jobs: Jobs,
        uploads: Uploads,
        sources: Sources,
        admission: Admission,
        pools: Pools,
        silence_seconds: float,
    ) -> None:
        """A sender that is silent for `silence_seconds` is given up."""
        self._acceptance = acceptance
        self._scratch = scratch
        self._models = models
        self._jobs = jobs
        self._uploads = uploads
        self._sources = sources
        self._limits = uploads.limits
        self._admission = admission
        self._pools = pools
        self._silence_seconds = silence_seconds
        self._owner: str | None = None

    def using(self, jobs: Jobs, uploads: Uploads, *, owner: str | None) -> Intake:
        """The same, with the queue and the uploads as one identity sees them."""
        theirs = copy.copy(self)
        theirs._jobs, theirs._uploads, theirs._owner = jobs, uploads, owner
        theirs._acceptance = self._acceptance.using(jobs)
        return theirs

    async def receive(self, body: AsyncIterator[bytes], parameters: Parameters, *, length: int | None) -> Scan:
        """From the body of a request, of `length` bytes where that is known."""
        name, model = parameters.safe_filename, self._models.find(parameters.model, parameters.version)
        self._limits.check_size(length or 0, name=name)
        self._limits.check_room(length or 0)
        async with self._place(parameters, length or 0), self._incoming() as incoming:
            upload = await self._write(body, incoming, name=name, parameters=parameters)
            return await self._accept(incoming, upload, parameters, model)

    async def receive_form(
        self, body: AsyncIterator[bytes], parameters: Parameters, *, content_type: str, stated: frozenset[str]
    ) -> Scan:
        """From a multipart form, whose fields count where the query says nothing.

        `stated` are the parameters that the query states. The place in the queue is of the priority that counts: that
        in the query, else that of a field before the file; one that comes after it is asked for again.
        """
        form = Form()
        async with AsyncExitStack() as places, self._incoming() as incoming:
            file = form.file(body, content_type=content_type)
            if "priority" in stated:
                await places.enter_async_context(self._place(replace(parameters, sha256=None), 0))
            else:
                file = self._placed(file, form, parameters, places)
            upload = await self._write(file, incoming, name="form", parameters=replace(parameters, sha256=None))
            parameters = parameters_in_form(form, parameters, stated=stated)
            check_digest(upload.sha256, parameters.sha256, name=parameters.safe_filename)
            (incoming / SOURCE_DIR / "form").rename(incoming / SOURCE_DIR / parameters.safe_filename)
            upload = parameters.upload(parameters.safe_filename, sha256=upload.sha256, size=upload.bytes)
            model = self._models.find(parameters.model, parameters.version)
            return await self._accept(incoming, upload, parameters, model)

    async def _placed(
        self, file: AsyncIterator[bytes], form: Form, parameters: Parameters, places: AsyncExitStack
    ) -> AsyncIterator[bytes]:
        """The same bytes, once there is a place for them of the form's priority, as far as that is known by then."""
        place, taken = None, None
        async for piece in file:
            if taken is None:
                taken = parameters_in_form(form, parameters).priority
                wish = replace(parameters, priority=taken, sha256=None)
                place = await places.enter_async_context(self._place(wish, 0))
            yield piece
        stated = parameters_in_form(form, parameters).priority
        if place is not None and stated != taken:
            await self._admission.move(place, stated)

    async def take_upload(self, upload_id: str, parameters: Parameters) -> Scan:
        """From a resumable upload, which is gone afterwards; one that is refused stays, to be asked for differently."""
        if not is_name(upload_id):
            raise UploadNotFound(upload_id)
        key, own_key = parameters.key, upload_key(upload_id)  # by which every post of the upload finds the same scan
        parameters = replace(parameters, key=own_key)
        async with self._place(parameters, await self._pools.writing.run(lambda: self._present_bytes(upload_id))):
            known = await self._asked(self._acceptance.of_key, key, own_key)
            try:
                scan = await self._there(known) if known else await self._take_upload(upload_id, parameters)
            except UploadNotFound:  # another post has made a scan of it meanwhile
                known = await self._asked(self._acceptance.of_key, own_key)
                if known is None:
                    raise
                scan = await self._there(known)
            if key is not None:
                await self._asked(self._jobs.add_key, key, scan.id)
            await self._pools.writing.run(lambda: self._remove_upload(upload_id))
            return scan

    async def _take_upload(self, upload_id: str, parameters: Parameters) -> Scan:
        info, data = await self._pools.writing.run(lambda: self._uploads.complete(upload_id))
        model = self._models.find(parameters.model, parameters.version)
        parameters = replace(parameters, filename=parameters.filename or info.filename)
        name = parameters.safe_filename
        async with self._incoming() as incoming:
            link = partial(_linked, incoming / SOURCE_DIR / name, data, upload_id=upload_id)
            size = await self._pools.writing.run(link)
            hashing = self._pools.light if size <= LIGHT_BYTES else self._pools.fetching
            path = incoming / SOURCE_DIR / name
            sha256 = await hashing.run_in_turn(lambda: file_sha256(path), owner=self._owner)
            check_digest(sha256, parameters.sha256, name=name)
            upload = parameters.upload(name, sha256=sha256, size=size)
            return await self._accept(incoming, upload, parameters, model)

    async def fetch(self, uri: str, parameters: Parameters) -> Scan:
        """From where it lies."""
        model, fetching = self._models.find(parameters.model, parameters.version), self._pools.fetching
        async with self._place(parameters, 0):
            source = await fetching.run_in_turn(lambda: self._sources.open(uri), owner=self._owner)
            self._limits.check_size(source.size, name=source.name)
            self._limits.check_room(source.size)
            filename, folder = parameters.filename or source.name, folder_of(f"{source.folder}/{source.name}")
            parameters = replace(parameters, filename=filename, folder=folder)
            name = parameters.safe_filename
            async with self._incoming() as incoming:
                fetch = partial(_fetched, source, incoming / SOURCE_DIR, name=name, stated=parameters.sha256)
                sha256 = await fetching.run_in_turn(fetch, owner=self._owner)
                upload = parameters.upload(name, sha256=sha256, size=source.size)
                return await self._accept(incoming, upload, parameters, model)

    async def limited(self, body: AsyncIterator[bytes], *, most_bytes: int = MOST_BODY_BYTES) -> bytes:
        """A body that is used from memory. Raises TooLarge, UploadStalled."""
        return await whole(body, silence_seconds=self._silence_seconds, most_bytes=most_bytes)

    @asynccontextmanager
    async def _place(self, parameters: Parameters, size: int) -> AsyncIterator[Place | None]:
        """A place in the queue; what is accepted already needs none. Raises QueueFull, and Unanswered."""
        async with AsyncExitStack() as stack:
            place = None
            try:
                place = await stack.enter_async_context(self._admission.taking(parameters.priority, size))
            except QueueFull:
                if not await self._asked(self._acceptance.known_before, parameters):
                    raise
            yield place

    def _incoming(self) -> AbstractAsyncContextManager[Path]:
        return incoming_folder(self._scratch, self._pools.writing)

    async def _write(self, body: AsyncIterator[bytes], incoming: Path, *, name: str, parameters: Parameters) -> Upload:
        path = incoming / SOURCE_DIR / name
        path.parent.mkdir()
        arriving = not_silent(body, self._silence_seconds)
        sha256, size = await receive(arriving, path, limits=self._limits, writing=self._pools.writing)
        if size == 0:
            raise RequestRefused(f"{name}: the body is empty; send the file itself as the body", field="body")
        check_digest(sha256, parameters.sha256, name=name)
        logs.event("upload_received", file=name, bytes=size, sha256=sha256[:12])
        return parameters.upload(name, sha256=sha256, size=size)

    async def _accept(self, incoming: Path, upload: Upload, parameters: Parameters, model: LoadedModel) -> Scan:
        """A small scan beside the large ones; what a file of any size holds is looked at first."""
        accept = partial(self._acceptance.accept, incoming, upload, parameters, model, owner=self._owner)
        try:
            accepted = await self._pools.light.run_in_turn(lambda: accept(light=True), owner=self._owner)
        except HeavyVolume as heavy:
            await self._asked(self._acceptance.check_owner, heavy.voxels)
            accepted = await self._pools.heavy.run_in_turn(lambda: accept(light=False), owner=self._owner)
        return await self._there(accepted.scan) if accepted.known else accepted.scan

    async def _there(self, scan: Scan) -> Scan:
        """The scan once it is accepted, should another request of the same key be at it. Raises AcceptanceUnderWay."""
        deadline = time.monotonic() + _ACCEPTING_SECONDS
        while time.monotonic() < deadline:
            try:
                return await self._asked(self._jobs.scan, scan.id)
            except ScanNotFound:
                await asyncio.sleep(_LOOKING_SECONDS)
        raise AcceptanceUnderWay("the same scan is being accepted; ask again")

    async def _asked(self, question: Callable[..., Answer], *about: Any) -> Answer:
        """What the database says. Raises what the question raises."""
        return await self._pools.asking.run(partial(question, *about))

    def _present_bytes(self, upload_id: str) -> int:
        return self._uploads.present_bytes(upload_id)

    def _remove_upload(self, upload_id: str) -> None:
        with contextlib.suppress(UploadNotFound):  # the answer to an earlier request did not arrive, or another did it
            self._uploads.remove(upload_id)


def _linked(path: Path, data: Path, *, upload_id: str) -> int:
    """Bytes of a resumable upload that has been put in the place of a scan's file. Raises UploadNotFound."""
    path.parent.mkdir()
    try:
        path.hardlink_to(data)
    except FileNotFoundError:
        raise UploadNotFound(upload_id) from None
    return path.stat().st_size


def _fetched(source: Source, folder: Path, *, name: str, stated: str | None) -> str:
    """SHA-256 of a source that is copied into a folder, under a name. Raises as `Source.fetch`, and DigestMismatch."""
    folder.mkdir()
    sha256 = source.fetch(folder)
    check_digest(sha256, stated, name=source.name)
    if name != source.name:
        (folder / source.name).rename(folder / name)
    return sha256
