"""Acceptance: bytes become an accepted scan, verified to its last voxel, or leave nothing behind.

In this order, so that what is accepted is never lost: received, verified, reserved in the queue, stored, queued.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from scans.model.manifest import file_sha256
from serving.inference.backpressure import QueueFull
from serving.intake.admission import Admission
from serving.intake.body import MOST_BODY_BYTES, check_digest, not_silent, receive, whole
from serving.intake.deferred_writes import DeferredWrites
from serving.intake.limits import Limits
from serving.intake.multipart import Form
from serving.intake.parameters import Parameters, parameters_in_form
from serving.intake.refusals import AcceptanceUnderWay, KeyReused, RequestRefused
from serving.intake.sources import Sources
from serving.intake.tus import UploadNotFound, Uploads
from serving.intake.verification import departures, verify
from serving.models.served import LoadedModel, Models
from serving.observability import logs
from serving.observability.observer import Observer
from serving.observability.tracing import Tracing
from serving.parsing.texts import is_name
from serving.queue.jobs import Jobs, ScanNotFound
from serving.queue.scan import Scan, Upload
from serving.segmentation.stored_segmentation import create_segmentation
from serving.storage import Scratch, Store

SOURCE_DIR = "source"
WORKING_COPY = "voxels.nii"
_ACCEPTING_SECONDS = 60.0
"""Of a request whose body is used from memory."""


class Intake:
    """Takes scans in, whichever way they come. All ways raise FormatError for a bad file, and what their parts do."""

    def __init__(
        self,
        *,
        store: Store,
        scratch: Scratch,
        models: Models,
        jobs: Jobs,
        uploads: Uploads,
        sources: Sources,
        limits: Limits,
        admission: Admission,
        silence_seconds: float,
        slab_slices: int,
        tracing: Tracing | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`observer` is told each way in which an accepted file is unlike what the model has seen."""
        self._observer = observer or Observer()
        self._tracing = tracing or Tracing()
        self._store = store
        self._scratch = scratch
        self._models = models
        self._jobs = jobs
        self._uploads = uploads
        self._sources = sources
        self._limits = limits
        self._admission = admission
        self.deferred_writes = DeferredWrites()
        self._silence_seconds = silence_seconds
        self._slab_slices = slab_slices

    def using(self, jobs: Jobs, uploads: Uploads) -> Intake:
        """The same, with the queue and the uploads as one identity sees them."""
        theirs = copy.copy(self)
        theirs._jobs, theirs._uploads = jobs, uploads
        return theirs

    async def receive(self, body: AsyncIterator[bytes], parameters: Parameters, *, length: int | None) -> Scan:
        """From the body of a request, of `length` bytes where that is known."""
        name, model = parameters.safe_filename, self._models.find(parameters.model, parameters.version)
        self._limits.check_size(length or 0, name=name)
        self._limits.check_room(length or 0)
        async with self._place(parameters, length or 0):
            return await self._receive(body, parameters, model, name=name)

    async def _receive(
        self, body: AsyncIterator[bytes], parameters: Parameters, model: LoadedModel, *, name: str
    ) -> Scan:
        with self._scratch.passing("incoming") as incoming:
            upload = await self._write(body, incoming, name=name, parameters=parameters)
            return await asyncio.to_thread(self._admit, incoming, upload, parameters, model)

    async def receive_form(self, body: AsyncIterator[bytes], parameters: Parameters, *, content_type: str) -> Scan:
        """From a multipart form, whose fields count where the query says nothing, but not for a place in the queue."""
        async with self._place(replace(parameters, sha256=None), 0):
            return await self._receive_form(body, parameters, content_type=content_type)

    async def _receive_form(self, body: AsyncIterator[bytes], parameters: Parameters, *, content_type: str) -> Scan:
        form = Form()
        with self._scratch.passing("incoming") as incoming:
            file = form.file(body, content_type=content_type)
            upload = await self._write(file, incoming, name="form", parameters=replace(parameters, sha256=None))
            parameters = parameters_in_form(form, parameters)
            check_digest(upload.sha256, parameters.sha256, name=parameters.safe_filename)
            (incoming / SOURCE_DIR / "form").rename(incoming / SOURCE_DIR / parameters.safe_filename)
            upload = replace(upload, filename=parameters.safe_filename, spacing=parameters.spacing)
            model = self._models.find(parameters.model, parameters.version)
            return await asyncio.to_thread(self._admit, incoming, upload, parameters, model)

    async def take_upload(self, upload_id: str, parameters: Parameters) -> Scan:
        """From a resumable upload, which is gone afterwards; one that is refused stays, to be asked for differently."""
        if not is_name(upload_id):
            raise UploadNotFound(upload_id)
        parameters = replace(parameters, key=parameters.key or f"upload {upload_id}")
        async with self._place(parameters, await asyncio.to_thread(self._uploads.present_bytes, upload_id)):
            return await asyncio.to_thread(self._take_upload, upload_id, parameters)

    async def fetch(self, uri: str, parameters: Parameters) -> Scan:
        """From where it lies."""
        async with self._place(parameters, 0):
            return await asyncio.to_thread(self._fetch, uri, parameters)

    async def limited(self, body: AsyncIterator[bytes], *, most_bytes: int = MOST_BODY_BYTES) -> bytes:
        """A body that is used from memory. Raises TooLarge, UploadStalled."""
        return await whole(body, silence_seconds=self._silence_seconds, most_bytes=most_bytes)

    @asynccontextmanager
    async def _place(self, parameters: Parameters, size: int) -> AsyncIterator[None]:
        """A place in the queue; what is accepted already needs none. Raises QueueFull, and Unanswered."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._admission.taking(parameters.priority, size))
            except QueueFull:
                if not await asyncio.to_thread(self._accepted_before, parameters):
                    raise
            yield

    def _accepted_before(self, parameters: Parameters) -> bool:
        """True where what is asked for again can be told without its bytes."""
        if parameters.key is not None and self._jobs.of_key(parameters.key) is not None:
            return True
        if parameters.fresh or parameters.sha256 is None:
            return False
        model, sha256 = self._models.find(parameters.model, parameters.version), parameters.sha256.lower()
        return self._jobs.find(sha256=sha256, spacing=parameters.spacing, model_key=model.identity.key) is not None

    async def _write(self, body: AsyncIterator[bytes], incoming: Path, *, name: str, parameters: Parameters) -> Upload:
        path = incoming / SOURCE_DIR / name
        path.parent.mkdir()
        sha256, size = await receive(not_silent(body, self._silence_seconds), path, limits=self._limits)
        if size == 0:
            raise RequestRefused(f"{name}: the body is empty; send the file itself as the body", field="body")
        check_digest(sha256, parameters.sha256, name=name)
        logs.event("upload_received", file=name, bytes=size, sha256=sha256[:12])
        return Upload(filename=name, sha256=sha256, bytes=size, spacing=parameters.spacing)

    def _take_upload(self, upload_id: str, parameters: Parameters) -> Scan:
        self.deferred_writes.retry()
        if parameters.key is not None and (known := self._jobs.of_key(parameters.key)) is not None:
            scan = self._accepted(known)
            with contextlib.suppress(UploadNotFound):  # the answer to the first request did not arrive
                self._uploads.remove(upload_id)
            return scan
        info, data = self._uploads.complete(upload_id)
        model = self._models.find(parameters.model, parameters.version)
        parameters = replace(parameters, filename=parameters.filename or info.filename)
        name = parameters.safe_filename
        with self._scratch.passing("incoming") as incoming:
            path = incoming / SOURCE_DIR / name
            path.parent.mkdir()
            path.hardlink_to(data)
            sha256 = file_sha256(path)
            check_digest(sha256, parameters.sha256, name=name)
            upload = Upload(filename=name, sha256=sha256, bytes=data.stat().st_size, spacing=parameters.spacing)
            scan = self._admit(incoming, upload, parameters, model)
        self._uploads.remove(upload_id)
        return scan

    def _fetch(self, uri: str, parameters: Parameters) -> Scan:
        source, model = self._sources.open(uri), self._models.find(parameters.model, parameters.version)
        parameters = replace(parameters, filename=parameters.filename or source.name)
        self._limits.check_size(source.size, name=source.name)
        self._limits.check_room(source.size)
        with self._scratch.passing("incoming") as incoming:
            folder = incoming / SOURCE_DIR
            folder.mkdir()
            sha256 = source.fetch(folder)
            check_digest(sha256, parameters.sha256, name=source.name)
            name = parameters.safe_filename
            if name != source.name:
                (folder / source.name).rename(folder / name)
            upload = Upload(filename=name, sha256=sha256, bytes=source.size, spacing=parameters.spacing)
            return self._admit(incoming, upload, parameters, model)

    def _admit(self, incoming: Path, upload: Upload, parameters: Parameters, model: LoadedModel) -> Scan:
        """With the model that was there when the request came, whatever is put in its place meanwhile."""
        self.deferred_writes.retry()
        if (known := self._known(upload, parameters, model.identity.key)) is not None:
            return self._accepted(known)
        source = incoming / SOURCE_DIR / upload.filename
        found = verify(
            source,
            spacing=upload.spacing,
            rule=model.manifest.intensity,
            copy=incoming / WORKING_COPY,
            limits=self._limits,
            most_slices=self._slab_slices,
        )
        if found.copy_header is not None:
            source.unlink()
        scan = Scan(
            id=uuid.uuid4().hex,
            created_seconds=time.time(),
            upload=upload,
            volume=WORKING_COPY if found.copy_header is not None else f"{SOURCE_DIR}/{upload.filename}",
            shape=found.shape,
            dtype=found.dtype,
            frame=found.frame,
            window=found.window,
            model=model.identity,
            organs=model.manifest.organs,
            slab_slices=found.slab_slices,
            voxels_crc32=found.voxels_crc32,
            copy_header=found.copy_header,
            traceparent=self._tracing.traceparent(),
            good_threshold=None if model.quality is None else model.quality.threshold,
            warnings=tuple(departures(found, model.manifest)),
        )
        accepted = self._store_and_queue(incoming, scan, parameters)
        for departure in scan.warnings if accepted.id == scan.id else ():
            self._observer.departed(departure, model=model.identity.name)
        return accepted

    def _known(self, upload: Upload, parameters: Parameters, model_key: str) -> Scan | None:
        """The scan that this request asks for again, by its key or by its bytes. Raises KeyReused."""
        if parameters.key is not None and (known := self._jobs.of_key(parameters.key)) is not None:
            return _same(known, upload, parameters)
        if parameters.fresh:
            return None
        same = self._jobs.find(sha256=upload.sha256, spacing=upload.spacing, model_key=model_key)
        if same is not None and parameters.key is not None:
            self._jobs.add_key(parameters.key, same.id)
        return same

    def _store_and_queue(self, incoming: Path, scan: Scan, parameters: Parameters) -> Scan:
        checksums = create_segmentation(incoming, scan)
        try:
            reserved = self._jobs.reserve(scan, priority=parameters.priority, key=parameters.key, checksums=checksums)
        except SQLAlchemyError:  # the row may be there all the same
            self.deferred_writes.defer(lambda: self._jobs.abandon(scan.id), repeated=True)
            raise
        if not reserved:
            known = self._jobs.of_key(parameters.key or "")
            if known is None:
                raise AcceptanceUnderWay("the scan of this key was removed at this moment; send it again")
            return self._accepted(_same(known, scan.upload, parameters))
        try:
            self._store.accept(incoming, scan.id)
        except BaseException:
            self._store.remove(scan.id)
            with contextlib.suppress(SQLAlchemyError):
                self.deferred_writes.attempt(lambda: self._jobs.abandon(scan.id), repeated=True)
            raise
        self.deferred_writes.attempt(lambda: self._jobs.enqueue(scan.id))
        logs.event("scan_accepted", scan=scan.id, file=scan.upload.filename, shape="x".join(map(str, scan.shape)))
        return scan

    def _accepted(self, scan: Scan) -> Scan:
        """The scan once it is accepted, should another request of the same key be at it. Raises AcceptanceUnderWay."""
        deadline = time.monotonic() + _ACCEPTING_SECONDS
        while time.monotonic() < deadline:
            try:
                return self._jobs.scan(scan.id)
            except ScanNotFound:
                time.sleep(0.05)
        raise AcceptanceUnderWay("the same scan is being accepted; ask again")


def _same(scan: Scan, upload: Upload, parameters: Parameters) -> Scan:
    model_fits = parameters.model in (None, scan.model.name) and parameters.version in (None, scan.model.shown_version)
    if (scan.upload.sha256, scan.upload.spacing) != (upload.sha256, upload.spacing) or not model_fits:
        raise KeyReused(
            f"this Idempotency-Key already stands for scan {scan.id}, whose file, spacing or model is another; "
            f"use a new key for a new scan"
        )
    return scan
