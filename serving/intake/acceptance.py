"""Acceptance: a file that has arrived becomes an accepted scan, verified to its last voxel, or leaves nothing behind.

In this order, so that what is accepted is never lost: verified, reserved in the queue, stored, queued.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from serving.inference.backpressure import UNKNOWN_SECONDS, QueueFull
from serving.intake.deferred_writes import DeferredWrites
from serving.intake.limits import Limits
from serving.intake.parameters import Parameters
from serving.intake.pools import LIGHT_VOXELS
from serving.intake.reader_pool import ReaderPool
from serving.intake.refusals import AcceptanceUnderWay, KeyReused
from serving.intake.verification import departures
from serving.models.served import LoadedModel, Models
from serving.observability import logs
from serving.observability.observer import Observer
from serving.observability.tracing import Tracing
from serving.queue.jobs import Jobs
from serving.queue.scan import Scan, Upload
from serving.segmentation.stored_segmentation import create_segmentation
from serving.storage import Store
from serving.storage.contract import IMAGE_DIR

SOURCE_DIR = "source"


@dataclass(frozen=True)
class Accepted:
    """What a request has become."""

    scan: Scan
    known: bool = False
    """True where it is that of another request, which may be at it still."""


class Acceptance:
    """Accepts scans whose bytes have arrived. Its calls take as long as the bytes do: they belong in a thread."""

    def __init__(
        self,
        *,
        store: Store,
        models: Models,
        jobs: Jobs,
        limits: Limits,
        readers: ReaderPool,
        owner_voxels: int,
        slab_slices: int,
        keep_uploads: bool,
        tracing: Tracing,
        observer: Observer,
    ) -> None:
        """`owner_voxels` may wait and be worked on for one owner. `keep_uploads`: what was sent stays beside what was
        made of it. `observer` is told each way in which an accepted file is unlike what the model has seen.
        """
        self._store = store
        self._models = models
        self._jobs = jobs
        self._limits = limits
        self._readers = readers
        self._owner_voxels = owner_voxels
        self._slab_slices = slab_slices
        self._keep_uploads = keep_uploads
        self._tracing = tracing
        self._observer = observer
        self.deferred_writes = DeferredWrites()

    def using(self, jobs: Jobs) -> Acceptance:
        """The same, with the queue as one identity sees it."""
        theirs = copy.copy(self)
        theirs._jobs = jobs
        return theirs

    def of_key(self, *keys: str | None) -> Scan | None:
        """The scan that one of these Idempotency-Keys stands for, be it still arriving; None if there is none."""
        self.deferred_writes.retry()
        found = (self._jobs.of_key(key) for key in keys if key is not None)
        return next((scan for scan in found if scan is not None), None)

    def known_before(self, parameters: Parameters) -> bool:
        """True where what is asked for again can be told without its bytes."""
        if parameters.key is not None and self._jobs.of_key(parameters.key) is not None:
            return True
        if parameters.fresh or parameters.sha256 is None:
            return False
        model, sha256 = self._models.find(parameters.model, parameters.version), parameters.sha256.lower()
        found = self._jobs.find(
            sha256=sha256, spacing=parameters.spacing, dataset=parameters.dataset, model_key=model.identity.key
        )
        return found is not None

    def check_owner(self, voxels: int) -> None:
        """Raises QueueFull where so many voxels more would be too many for their owner; alone, any number may be."""
        unfinished = self._jobs.unfinished_voxels()
        if unfinished and unfinished + voxels > self._owner_voxels:
            raise QueueFull(
                f"scans of {unfinished} voxels of yours wait or are worked on already and this one has {voxels}, where "
                f"{self._owner_voxels} may (RICEFISH_OWNER_VOXELS)",
                limit="voxels",
                waiting=unfinished,
                most=self._owner_voxels,
                seconds=UNKNOWN_SECONDS,
            )

    def accept(
        self,
        incoming: Path,
        upload: Upload,
        parameters: Parameters,
        model: LoadedModel,
        *,
        light: bool,
        owner: str | None = None,
    ) -> Accepted:
        """With the model that was there when the request came, whatever is put in its place meanwhile. Raises
        FormatError for a bad file, HeavyVolume where it should be `light` and is large, and what its parts do.
        """
        self.deferred_writes.retry()
        if (known := self._known(upload, parameters, model.identity.key)) is not None:
            return Accepted(known, known=True)
        found = self._readers.verify(
            source := incoming / SOURCE_DIR / upload.filename,
            owner=owner,
            spacing=upload.spacing,
            dataset=upload.dataset,
            rule=model.manifest.intensity,
            image=incoming / IMAGE_DIR,
            limits=self._limits.of_scan(upload.bytes, light_voxels=LIGHT_VOXELS if light else None),
            most_slices=self._slab_slices,
        )
        if not self._keep_uploads:
            _remove(source)
        scan = Scan(
            id=uuid.uuid4().hex,
            created_seconds=time.time(),
            upload=upload,
            shape=found.shape,
            dtype=found.dtype,
            frame=found.frame,
            window=found.window,
            model=model.identity,
            organs=model.manifest.organs,
            slab_slices=found.slab_slices,
            deep_levels=True,
            image_checksums=found.image_checksums,
            source_headers=found.source_headers,
            traceparent=self._tracing.traceparent(),
            good_threshold=None if (quality := model.quality) is None else quality.threshold,
            dice_calibration=None if quality is None else quality.manifest.expected_dice,
            warnings=tuple(departures(found, model.manifest)),
            notes=found.notes,
        )
        accepted = self._store_and_queue(incoming, scan, parameters)
        for departure in () if accepted.known else scan.warnings:
            self._observer.departed(departure, model=model.identity.name)
        return accepted

    def _known(self, upload: Upload, parameters: Parameters, model_key: str) -> Scan | None:
        """The scan that this request asks for again, by its key or by its bytes. Raises KeyReused."""
        if parameters.key is not None and (known := self._jobs.of_key(parameters.key)) is not None:
            return _same(known, upload, parameters)
        if parameters.fresh:
            return None
        same = self._jobs.find(
            sha256=upload.sha256, spacing=upload.spacing, dataset=upload.dataset, model_key=model_key
        )
        if same is not None and parameters.key is not None:
            self._jobs.add_key(parameters.key, same.id)
        return same

    def _store_and_queue(self, incoming: Path, scan: Scan, parameters: Parameters) -> Accepted:
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
            return Accepted(_same(known, scan.upload, parameters), known=True)
        try:
            self._store.accept(incoming, scan.id)
        except BaseException:
            self._store.remove(scan.id)
            with contextlib.suppress(SQLAlchemyError):
                self.deferred_writes.attempt(lambda: self._jobs.abandon(scan.id), repeated=True)
            raise
        self.deferred_writes.attempt(lambda: self._jobs.enqueue(scan.id))
        logs.event("scan_accepted", scan=scan.id, file=scan.upload.filename, shape="x".join(map(str, scan.shape)))
        return Accepted(scan)


def upload_key(upload_id: str) -> str:
    """The key under which a resumable upload's scan is found again."""
    return f"upload {upload_id}"


def _remove(source: Path) -> None:
    """What was sent, a file or a folder."""
    if source.is_dir():
        shutil.rmtree(source)
    else:
        source.unlink()


def _same(scan: Scan, upload: Upload, parameters: Parameters) -> Scan:
    model_fits = parameters.model in (None, scan.model.name) and parameters.version in (None, scan.model.shown_version)
    theirs = (scan.upload.sha256, scan.upload.spacing, scan.upload.dataset)
    if theirs != (upload.sha256, upload.spacing, upload.dataset) or not model_fits:
        raise KeyReused(
            f"this Idempotency-Key already stands for scan {scan.id}, whose file, spacing, dataset or model is "
            "another; use a new key for a new scan"
        )
    return scan
