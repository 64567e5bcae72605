"""Segmenter: a scan as a stream. Reading, inference and writing overlap; what lies between them is bounded.

reader thread       slab n + 1 from the file
this thread         batches of slab n into the batching queue, their answers out of it
writer thread       slab n - 1: judged, statistics, shards, then the note in the database that it is done
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Box
from scans.tiling import HALO, segment_slab
from serving.inference.batching import Batcher
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.scheduling import Urgency
from serving.models.served import LoadedModel, Models
from serving.observability import logs
from serving.observability.observer import Observer
from serving.observability.tracing import Tracing
from serving.queue.jobs import Priority
from serving.queue.scan import Scan
from serving.queue.worker import Run
from serving.segmentation.judge import SlabJudge
from serving.segmentation.stopwatch import ACTIVITIES, Stopwatch
from serving.segmentation.stored_segmentation import SegmentationWriter
from serving.segmentation.stored_voxels import open_voxels
from serving.segmentation.writer import ResultWriter, SegmentedSlab
from serving.storage import Scratch, Store

_AHEAD = 1
"""Slabs that wait between two activities."""

URGENCY = {
    Priority.INTERACTIVE: Urgency.INTERACTIVE,
    Priority.NORMAL: Urgency.NORMAL,
    Priority.BACKLOG: Urgency.BACKLOG,
}

Item = TypeVar("Item")
Made = TypeVar("Made")
Slab = tuple[int, Box, NDArray[Any]]
"""Number, place and voxels, (z, Y, X)."""


class Segmenter:
    """Segments scans with the models, the batching queue and the store of a process."""

    def __init__(
        self,
        *,
        store: Store,
        scratch: Scratch,
        models: Models,
        batcher: Batcher,
        tile: int | None,
        quality_limit: float | None,
        observer: Observer | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`observer` is told the seconds of each of ACTIVITIES, and of each slab that is durable.

        More than `quality_limit` (0..1) of the slices with organs must not be bad; None: see `SlabJudge`.
        """
        self._observer = observer or Observer()
        self._quality_limit = quality_limit
        self._tracing = tracing or Tracing()
        self._store = store
        self._scratch = scratch
        self._models = models
        self._batcher = batcher
        self._tile = tile

    def segment(self, run: Run) -> None:
        """Segments what is left of a scan. When this returns, all of it is in the store and noted in the database.

        Raises Interrupted, LeaseLost or Fenced where it must stop, ScanDamaged where the file is damaged, ModelError
        where the model is gone, and what the device raises.
        """
        scan = run.lease.scan
        with self._tracing.span("scan", parent=scan.traceparent, scan=scan.id, first_slab=run.lease.slabs_done):
            self._segment(run, scan)

    def _segment(self, run: Run, scan: Scan) -> None:
        model = self._models.of_scan(scan.model)
        batch_size = run.lease.batch_size or model.tuning.batch_size(*scan.shape[1:])
        watch = Stopwatch({**dict.fromkeys(ACTIVITIES, 0.0), **run.lease.timings}, self._observer)
        with ExitStack() as stack:
            attempt = stack.enter_context(self._store.begin(scan.id, run.lease.epoch))
            folder = stack.enter_context(self._scratch.passing("staging"))
            voxels = stack.enter_context(open_voxels(self._store, scan))
            reading, writing = (stack.enter_context(_thread(name)) for name in ("slab-reader", "slab-writer"))
            numbered = [(number, box) for number, box in enumerate(scan.boxes) if number >= run.lease.slabs_done]

            def read(item: tuple[int, Box]) -> Slab:
                number, box = item
                with watch.measuring("read"), self._tracing.span("slab read", slab=number):
                    return number, box, voxels.slab(number)

            judge = SlabJudge(
                model, scan, whole_slices=not _in_tiles(scan, self._tile), quality_limit=self._quality_limit
            )
            inference = _Inference(
                self._batcher, run, model, judge, batch_size=batch_size, tile=self._tile, watch=watch
            )
            writer = ResultWriter(
                run,
                SegmentationWriter(attempt, folder, scan),
                judge,
                batch_size=batch_size,
                watch=watch,
                observer=self._observer,
            )

            def write(slab: SegmentedSlab) -> None:
                with self._tracing.span("slab write", slab=slab.number):
                    writer.write(slab)

            slabs = _ahead(reading, read, numbered, waiting=watch, activity="wait for read")
            segmented = self._traced(inference.of(slabs))
            for _ in _ahead(writing, write, segmented, waiting=watch, activity="wait for write"):
                run.check()

    def _traced(self, slabs: Iterator[SegmentedSlab]) -> Iterator[SegmentedSlab]:
        """The same slabs, each with the span of its inference: from when the one before was whole to when it is."""
        began = time.time_ns()
        for slab in slabs:
            self._tracing.since("slab infer", began, slab=slab.number)
            yield slab
            began = time.time_ns()


class _Inference:
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
        self._most_pixels = batcher.memory.scan_pixels(
            model.runtime.pixel_bytes, lanes=model.runtime.lanes, batch_pixels=model.tuning.batch_pixels
        )
        self._scan: Scan = run.lease.scan

    def of(self, slabs: Iterable[Slab]) -> Iterator[SegmentedSlab]:
        """Each slab with its class indices."""
        if self._tile is not None and _in_tiles(self._scan, self._tile):
            for number, box, slab in slabs:
                yield SegmentedSlab(number, box, slab, self._tiled(slab, self._tile), {})
            return
        asked: deque[_Asked] = deque()
        try:
            for batch in self._ask(slabs):
                asked.append(batch)
                if len(asked) > self._model.runtime.lanes:
                    yield from self._answered(asked.popleft())
            while asked:
                yield from self._answered(asked.popleft())
        finally:
            for batch in asked:
                batch.future.cancel()

    def _ask(self, slabs: Iterable[Slab]) -> Iterator[_Asked]:
        for number, box, slab in slabs:
            whole = SegmentedSlab(number, box, slab, np.empty(slab.shape, np.uint8), {})
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
        batch.slab.confidence.update({index: confidence[index - first].copy() for index in batch.sampled})
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
                urgency=URGENCY[self._run.lease.priority],
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


def _in_tiles(scan: Scan, tile: int | None) -> bool:
    return tile is not None and max(scan.shape[1:]) > tile


def _ahead(
    thread: ThreadPoolExecutor,
    work: Callable[[Item], Made],
    items: Iterable[Item],
    *,
    waiting: Stopwatch,
    activity: str,
) -> Iterator[Made]:
    """`work` of each item in order, done by the thread while the consumer is busy with earlier ones."""
    begun: deque[Future[Made]] = deque()

    def oldest() -> Made:
        with waiting.measuring(activity):
            return begun.popleft().result()

    for item in items:
        begun.append(thread.submit(work, item))
        if len(begun) > _AHEAD:
            yield oldest()
    while begun:
        yield oldest()


@contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name, initializer=logs.carried())
    try:
        yield thread
    finally:
        thread.shutdown(wait=True, cancel_futures=True)
