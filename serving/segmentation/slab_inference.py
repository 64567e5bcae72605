"""Slab inference: grey values into the batching queue, batch by batch, and their class indices out of it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Box
from scans.model.judgement import Judgement
from scans.tiling import HALO, segment_slab
from serving.inference.batching import Batcher
from serving.inference.memory_fallback import padded_pixels
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.scheduling import Urgency
from serving.inference.slice_memory import SliceMemory
from serving.models.served import LoadedModel
from serving.observability import logs
from serving.queue.jobs import Priority
from serving.queue.scan import Scan
from serving.queue.worker import Run
from serving.segmentation.judge import SlabJudge
from serving.segmentation.stopwatch import Stopwatch
from serving.segmentation.writer import SegmentedSlab

_URGENCY = {
    Priority.INTERACTIVE: Urgency.INTERACTIVE,
    Priority.NORMAL: Urgency.NORMAL,
    Priority.BACKLOG: Urgency.BACKLOG,
}
_MOST_ASKED_BYTES = 256 << 20
"""Of a scan's batches in the queue, however many lanes a device has; one batch alone may have more."""

Slab = tuple[int, Box, NDArray[Any]]
"""Number, place and voxels, (z, Y, X)."""


class SlabInference:
    """Slabs of grey values in, slabs of class indices out; the next batches are queued before an answer is awaited."""

    def __init__(
        self,
        batcher: Batcher,
        run: Run,
        model: LoadedModel,
        judge: SlabJudge,
        *,
        batch_size: int,
        tile: int | None,
        watch: Stopwatch,
    ) -> None:
        self._judge = judge
        self._batcher = batcher
        self._run = run
        self._model = model
        self._batch_size = batch_size
        self._tile = tile
        self._watch = watch
        self._most_pixels = _most_pixels(model, batcher.memory)
        self._scan: Scan = run.lease.scan

    def of(self, slabs: Iterable[Slab]) -> Iterator[SegmentedSlab]:
        """Each slab with its class indices."""
        if self._tile is not None and max(self._scan.shape[1:]) > self._tile:
            for number, box, slab in slabs:
                yield SegmentedSlab(number, box, slab, self._tiled(slab, self._tile), [])
            return
        asked: deque[_Asked] = deque()
        try:
            for batch in self._ask(slabs):
                asked.append(batch)
                while len(asked) > self._model.runtime.lanes or sum(one.bytes for one in asked) > _MOST_ASKED_BYTES:
                    yield from self._answered(asked.popleft())
            while asked:
                yield from self._answered(asked.popleft())
        finally:
            for batch in asked:
                batch.future.cancel()

    def _ask(self, slabs: Iterable[Slab]) -> Iterator[_Asked]:
        for number, box, slab in slabs:
            whole = SegmentedSlab(number, box, slab, np.empty(slab.shape, np.uint8), [])
            for first in range(0, len(slab), self._batch_size):
                part = slice(first, min(first + self._batch_size, len(slab)))
                sampled = self._judge.sampled(box.start[0] + first, box.start[0] + part.stop)
                future = self._submit(slab[part], confident=bool(sampled))
                yield _Asked(future, whole, part, sampled)

    def _answered(self, batch: _Asked) -> Iterator[SegmentedSlab]:
        with self._watch.measuring("infer"):
            batch.slab.segmentation[batch.part] = self._answer(batch)
        if batch.part.stop == len(batch.slab.grey):
            yield batch.slab

    def _answer(self, batch: _Asked) -> NDArray[np.uint8]:
        """A batch's class indices; what it says of its confidence is noted with the slab."""
        segmentation: NDArray[np.uint8]
        if not batch.sampled:
            segmentation = batch.future.result()
            return segmentation
        try:
            segmentation, confidence = batch.future.result()
        except OutOfDeviceMemory as error:
            logs.event("confidence_skipped", level=logging.WARNING, scan=self._scan.id, error=error)
            segmentation = self._submit(batch.slab.grey[batch.part]).result()
            return segmentation
        first = batch.slab.box.start[0] + batch.part.start
        for place in (slice(index - first, index - first + 1) for index in batch.sampled):
            own, probability = segmentation[place], confidence[place]
            batch.slab.confidence.append(Judgement.of_confidence(own, probability, organs=len(self._scan.organs)))
        return segmentation

    def _tiled(self, slab: NDArray[Any], tile: int) -> NDArray[np.uint8]:
        with self._watch.measuring("infer"):
            return segment_slab(
                slab,
                lambda tiles: self._submit(tiles).result(),
                batch_size=self._batch_size,
                tile=tile,
                halo=HALO,
            )

    def _submit(self, slices: NDArray[Any], *, confident: bool = False) -> Future[Any]:
        self._run.check()
        submit = self._batcher.submit_with_confidence if confident else partial(self._batcher.submit, halo=HALO)
        with self._watch.measuring("prepare"):
            return submit(
                slices,
                window=self._scan.window,
                network=self._model.runtime,
                urgency=_URGENCY[self._run.lease.priority],
                stream=self._scan.id,
                most_pixels=self._most_pixels,
            )


@dataclass(frozen=True)
class _Asked:
    """A batch in the queue."""

    future: Future[Any]
    """Of class indices; where slices are sampled, of their confidence as well."""
    slab: SegmentedSlab
    part: slice
    """Of the slab; the slab is whole once the answer to its last part is there."""
    sampled: range
    """Slices whose confidence is looked at, by their index in the scan."""

    @property
    def bytes(self) -> int:
        """Of its grey values."""
        return int(self.slab.grey[self.part].nbytes)


def goes_whole(scan: Scan, model: LoadedModel, memory: SliceMemory, *, tile: int | None) -> bool:
    """Whether its slices go through the model in one piece, neither longer than a tile that is set nor too large."""
    most = _most_pixels(model, memory)
    return (tile is None or max(scan.shape[1:]) <= tile) and (most is None or padded_pixels(*scan.shape[1:]) <= most)


def _most_pixels(model: LoadedModel, memory: SliceMemory) -> int | None:
    runtime, tuning = model.runtime, model.tuning
    return memory.scan_pixels(runtime.pixel_bytes, lanes=runtime.lanes, batch_pixels=tuning.batch_pixels)
