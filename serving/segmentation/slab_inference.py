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
from serving.inference.batching import Batcher, scan_batch_bytes
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
        self._queue_bytes = batcher.memory.queue_bytes
        self._scan: Scan = run.lease.scan

    def of(self, slabs: Iterable[Slab]) -> Iterator[SegmentedSlab]:
        """Each slab with its class indices."""
        if self._tile is not None and max(self._scan.shape[1:]) > self._tile:
            for number, box, slab in slabs:
                yield SegmentedSlab(number, box, slab, self._tiled(slab, self._tile), [])
                del slab
            return
        asked: deque[_Asked] = deque()
        try:
            for number, box, slab in slabs:
                whole = SegmentedSlab(number, box, slab, np.empty(slab.shape, np.uint8), [])
                for part, sampled in self._parts(box):
                    taken = scan_batch_bytes(slab[part], confidence=bool(sampled))
                    while asked and self._is_full(asked, taken):
                        yield from self._answered(asked)
                    future = self._submit(slab[part], confident=bool(sampled))
                    asked.append(_Asked(future, whole, part, sampled, taken))
                    del future
                del slab, whole  # while the next one is read
            while asked:
                yield from self._answered(asked)
        finally:
            for batch in asked:
                batch.future.cancel()

    def _parts(self, box: Box) -> Iterator[tuple[slice, range]]:
        """The batches of a slab, and whose confidence is looked at in each, by index in the scan."""
        for first in range(0, box.shape[0], self._batch_size):
            part = slice(first, min(first + self._batch_size, box.shape[0]))
            yield part, self._judge.sampled(box.start[0] + first, box.start[0] + part.stop)

    def _is_full(self, asked: Iterable[_Asked], more: int) -> bool:
        """Whether an answer is awaited before a batch of so many bytes is asked for."""
        taken = [batch.bytes for batch in asked]
        return len(taken) > self._model.runtime.lanes or sum(taken) + more > self._queue_bytes

    def _answered(self, asked: deque[_Asked]) -> Iterator[SegmentedSlab]:
        """The slab of the oldest batch, if that was its last; nothing else of the batch is held meanwhile."""
        if (slab := self._noted(asked.popleft())) is not None:
            yield slab

    def _noted(self, batch: _Asked) -> SegmentedSlab | None:
        with self._watch.measuring("infer"):
            batch.slab.segmentation[batch.part] = self._answer(batch)
        return batch.slab if batch.part.stop == len(batch.slab.grey) else None

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
        for index in batch.sampled:
            place, organs = slice(index - first, index - first + 1), len(self._scan.organs)
            of_slice = Judgement.of_confidence(segmentation[place], confidence[place], organs=organs, index=index)
            batch.slab.confidence.append(of_slice)
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
    bytes: int
    """That it takes in the queue, and with its answer."""


def goes_whole(scan: Scan, model: LoadedModel, memory: SliceMemory, *, tile: int | None) -> bool:
    """Whether its slices go through the model in one piece, neither longer than a tile that is set nor too large."""
    most = _most_pixels(model, memory)
    return (tile is None or max(scan.shape[1:]) <= tile) and (most is None or padded_pixels(*scan.shape[1:]) <= most)


def _most_pixels(model: LoadedModel, memory: SliceMemory) -> int | None:
    runtime, tuning = model.runtime, model.tuning
    return memory.scan_pixels(runtime.pixel_bytes, lanes=runtime.lanes, batch_pixels=tuning.batch_pixels)
