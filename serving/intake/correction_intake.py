"""Correction intake: a corrected segmentation arrives, is read by a reader, and becomes a version of its scan's.

In this order, so that what was answered is never lost and what was not is never shown: received, read, written as a
pyramid and counted, stored, numbered.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from serving.intake.body import check_digest, not_silent, receive
from serving.intake.filename import safe_filename
from serving.intake.incoming import incoming_folder
from serving.intake.limits import HeavyVolume, Limits
from serving.intake.pools import LIGHT_VOXELS, Pools
from serving.intake.reader_pool import ReaderPool
from serving.intake.refusals import RequestRefused
from serving.observability import logs
from serving.queue.jobs import Job
from serving.queue.scan import Scan
from serving.segmentation.correction import Correction, SentLabels
from serving.segmentation.correction_writer import write_correction
from serving.segmentation.corrections import Corrections
from serving.segmentation.results import Results
from serving.storage import Scratch

_PYRAMID = "pyramid"


class Corrected(NamedTuple):
    """What a request has become."""

    correction: Correction
    known: bool
    """True where it is that of an earlier request with the same bytes."""


@dataclass(frozen=True)
class CorrectionRequest:
    """What a request says of a correction beside its bytes."""

    filename: str
    dataset: str | None = None
    """Which data set of the file it is; None: the one that there is."""
    sha256: str | None = None
    """Of the file, as the sender says."""
    length: int | None = None
    """Of the body in bytes, where that is known."""


class CorrectionIntake:
    """Takes corrections in, of scans that the caller may see. For one event loop."""

    def __init__(
        self,
        corrections: Corrections,
        results: Results,
        *,
        readers: ReaderPool,
        scratch: Scratch,
        limits: Limits,
        pools: Pools,
        silence_seconds: float,
    ) -> None:
        """A sender that is silent for `silence_seconds` is given up."""
        self._corrections = corrections
        self._results = results
        self._readers = readers
        self._scratch = scratch
        self._limits = limits
        self._pools = pools
        self._silence_seconds = silence_seconds
        self._author: str | None = None

    def using(self, *, owner: str | None) -> CorrectionIntake:
        """The same on behalf of an owner of keys, who is the author of what is taken in."""
        theirs = copy.copy(self)
        theirs._author = owner
        return theirs

    async def receive(self, scan: Scan, job: Job, body: AsyncIterator[bytes], request: CorrectionRequest) -> Corrected:
        """A version of a finished scan's segmentation, from the body of a request.

        Raises LabelsRefused for labels that are not the scan's, FormatError for a file that cannot be read,
        ScanNotFound or WrongState where the scan is removed or made again meanwhile, and what its parts do.
        """
        name = safe_filename(request.filename)
        self._limits.check_size(request.length or 0, name=name)
        self._limits.check_room(request.length or 0)
        async with incoming_folder(self._scratch, self._pools.writing) as incoming:
            sent = await self._received(body, incoming, name, request)
            find = partial(self._corrections.same, scan.id, author=self._author, sent=sent)
            if (known := await self._pools.asking.run(find)) is not None:
                return Corrected(known, known=True)
            accept = partial(self._accept, incoming, scan, job, sent)
            return await self._in_turn(accept)

    async def _received(
        self, body: AsyncIterator[bytes], incoming: Path, name: str, request: CorrectionRequest
    ) -> SentLabels:
        path = _sent_file(incoming, name)
        path.parent.mkdir()
        arriving = not_silent(body, self._silence_seconds)
        sha256, size = await receive(arriving, path, limits=self._limits, writing=self._pools.writing)
        if size == 0:
            raise RequestRefused(f"{name}: the body is empty; send the file itself as the body", field="body")
        check_digest(sha256, request.sha256, name=name)
        logs.event("correction_received", file=name, bytes=size, sha256=sha256[:12])
        return SentLabels(name, sha256, size, request.dataset)

    async def _in_turn(self, accept: Callable[[int | None], Corrected]) -> Corrected:
        """A small one beside the large ones, as scans are taken in."""
        try:
            return await self._pools.light.run_in_turn(lambda: accept(LIGHT_VOXELS), owner=self._author)
        except HeavyVolume:
            return await self._pools.heavy.run_in_turn(lambda: accept(None), owner=self._author)

    def _accept(self, incoming: Path, scan: Scan, job: Job, sent: SentLabels, light_voxels: int | None) -> Corrected:
        labels = incoming / "labels"
        found = self._readers.verify_labels(
            _sent_file(incoming, sent.filename),
            owner=self._author,
            shape=scan.shape,
            frame=scan.frame,
            organs=scan.organs,
            dataset=sent.dataset,
            copy=labels,
            limits=self._limits.of_scan(sent.bytes, light_voxels=light_voxels),
            slab_slices=scan.slab_slices,
        )
        with self._results.answered(scan, job) as answered:
            findings, checksums = write_correction(incoming / _PYRAMID, labels, scan, answered)
        correction_id = uuid.uuid4().hex
        correction = self._corrections.add(
            incoming / _PYRAMID,
            correction_id,
            scan.id,
            author=self._author,
            sent=sent,
            findings=findings,
            checksums=checksums,
            notes=found.notes,
        )
        known = correction.id != correction_id
        if not known:
            logs.event("scan_corrected", scan=scan.id, version=correction.number, file=sent.filename)
        return Corrected(correction, known)


def _sent_file(incoming: Path, name: str) -> Path:
    return incoming / "sent" / name
