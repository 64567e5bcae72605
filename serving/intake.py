"""Intake: a stream of bytes becomes an accepted scan, verified to its last voxel, or leaves nothing behind."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from scans.formats import open_volume
from scans.geometry import Frame, Spacing, Triple
from scans.intensity import IntensityRule, Window, stride
from serving import logs
from serving.jobs import Jobs
from serving.models import Models
from serving.scan import Scan, Upload
from serving.segmentation import SegmentationArray
from serving.settings import Settings
from serving.store import Store

SOURCE_DIR = "source"
_NAMESPACE = uuid.UUID("5b0c5a0e-6d0f-4c38-9a43-8f7c1d1b7d3e")
_BUFFER_BYTES = 1 << 20
_LONGEST_NAME_BYTES = 200


class RequestRefused(ValueError):  # noqa: N818 - says what happened
    """A request that cannot become a scan, whatever the file holds. `field` names the part at fault."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class UploadTooLarge(ValueError):  # noqa: N818 - says what is wrong
    """The body is larger than the server takes."""


class UploadStalled(ValueError):  # noqa: N818 - says what is wrong
    """The sender fell silent in the middle of the body."""


class KeyReused(ValueError):  # noqa: N818 - says what is wrong
    """An Idempotency-Key came back with another body or another spacing."""


@dataclass(frozen=True)
class Verified:
    """What a file turned out to be when all of it was read."""

    shape: Triple
    dtype: str
    frame: Frame
    window: Window


class Intake:
    """Takes scans in: stream to disk, verify, store, queue; in this order, so that what is accepted is never lost."""

    def __init__(self, *, store: Store, models: Models, jobs: Jobs, settings: Settings) -> None:
        self._store = store
        self._models = models
        self._jobs = jobs
        self._settings = settings

    async def receive(
        self, body: AsyncIterator[bytes], *, filename: str, spacing: Spacing | None, key: str | None
    ) -> Scan:
        """Streams a scan to disk, verifies it and queues it.

        `key` is the Idempotency-Key: the same key with the same body gives the same scan. Raises FormatError for a bad
        file, RequestRefused, UploadTooLarge, UploadStalled, KeyReused, and whatever ends the stream early.
        """
        name = safe_filename(filename)
        with self._store.passing("incoming") as incoming:
            source = incoming / SOURCE_DIR / name
            source.parent.mkdir()
            sha256, size = await self._stream(body, source)
            upload = Upload(filename=name, sha256=sha256, bytes=size, spacing=spacing)
            logs.event("upload_received", file=name, bytes=size, sha256=sha256[:12])
            return await asyncio.to_thread(self._admit, incoming, upload, key)

    async def _stream(self, body: AsyncIterator[bytes], path: Path) -> tuple[str, int]:
        digest, size, buffer = hashlib.sha256(), 0, bytearray()
        limit = self._settings.upload_limit_bytes
        with path.open("wb") as file:

            def flush() -> None:
                digest.update(buffer)
                file.write(buffer)
                buffer.clear()

            chunks = aiter(body)
            while (chunk := await self._next(chunks)) is not None:
                size += len(chunk)
                if limit is not None and size > limit:
                    raise UploadTooLarge(f"{path.name} is larger than the {limit} bytes that are accepted")
                buffer += chunk
                if len(buffer) >= _BUFFER_BYTES:
                    await asyncio.to_thread(flush)
            await asyncio.to_thread(flush)
        if size == 0:
            raise RequestRefused(f"{path.name}: the body is empty; send the file itself as the body", field="body")
        return digest.hexdigest(), size

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        seconds = self._settings.upload_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await anext(chunks, None)
        except TimeoutError:
            raise UploadStalled(f"nothing was received for {seconds:g} seconds") from None

    def _admit(self, incoming: Path, upload: Upload, key: str | None) -> Scan:
        scan_id = uuid.uuid4().hex if key is None else uuid.uuid5(_NAMESPACE, key).hex
        model = self._models.current
        path = incoming / SOURCE_DIR / upload.filename
        found = verify(
            path, spacing=upload.spacing, rule=model.manifest.intensity, slab_slices=self._settings.slab_slices
        )
        scan = Scan(
            id=scan_id,
            created_seconds=time.time(),
            upload=upload,
            volume=f"{SOURCE_DIR}/{upload.filename}",
            shape=found.shape,
            dtype=found.dtype,
            frame=found.frame,
            window=found.window,
            model=model.identity,
            organs=model.manifest.organs,
            slab_slices=min(self._settings.slab_slices, found.shape[0]),
            batch_size=self._settings.batch_size,
        )
        SegmentationArray.create(incoming, scan.shape, slab_slices=scan.slab_slices)
        if not self._store.accept(incoming, scan):
            scan = _same(self._store.scan(scan_id), upload)
        self._jobs.enqueue(scan.id)
        logs.event("scan_accepted", scan=scan.id, file=upload.filename, shape="x".join(map(str, scan.shape)))
        return scan


def verify(path: Path, *, spacing: Spacing | None, rule: IntensityRule, slab_slices: int) -> Verified:
    """Reads every slice of a file once, slab by slab, and finds its window on the way, as `rule.window` would.

    Raises FormatError for every fault, SpacingMissing where a spacing has to be given.
    """
    with open_volume(path, spacing=spacing) as volume:
        step = stride(volume.shape)
        rows = []
        for box, slab in volume.slabs(slab_slices):
            rows += [
                slab[z - box.start[0], ::step, ::step].flatten() for z in _multiples(step, box.start[0], box.stop[0])
            ]
        window = rule.fixed or rule.window_of(np.concatenate(rows))
        return Verified(volume.shape, volume.dtype.name, volume.frame, window)


def safe_filename(filename: str) -> str:
    """The last component of what the sender calls the file. Raises RequestRefused if nothing usable is left."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    name = re.sub(r"[\x00-\x1f\x7f]", "", name).strip()
    if not name or set(name) == {"."}:
        raise RequestRefused(
            f"filename is {filename!r}; it must be a file's name, such as fish.nii.gz", field="filename"
        )
    if len(name.encode()) > _LONGEST_NAME_BYTES:
        raise RequestRefused(f"filename is longer than {_LONGEST_NAME_BYTES} bytes", field="filename")
    return name


def parse_spacing(text: str | None) -> Spacing | None:
    """`z,y,x` in mm, such as 0.01,0.005,0.005. Raises RequestRefused that says what is wrong."""
    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
        return Spacing(z, y, x)
    except ValueError as error:
        reason = str(error) if str(error).startswith("spacing") else "three numbers are needed"
        raise RequestRefused(
            f"spacing is {text!r}; give z,y,x in mm, such as 0.01,0.005,0.005: {reason}", field="spacing"
        ) from None


def _same(scan: Scan, upload: Upload) -> Scan:
    if (scan.upload.sha256, scan.upload.spacing) != (upload.sha256, upload.spacing):
        raise KeyReused(
            f"this Idempotency-Key already stands for scan {scan.id}, whose file or spacing is another; "
            f"use a new key for a new scan"
        )
    return scan


def _multiples(step: int, start: int, stop: int) -> range:
    return range(-(-start // step) * step, stop, step)
