"""Segmenter: a scan as a stream. Reading, inference and writing overlap; what lies between them is bounded. Slabs of
one large slice are read, computed and written one after another, but for those that wait for a device.

reader thread       slab n + 1 from the file
this thread         batches of slab n into the batching queue, their answers out of it
writer thread       slab n - 1: judged, statistics, shards, then the note in the database that it is done
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Box
from serving.inference.batching import Batcher
from serving.models.served import Models
from serving.observability import logs
from serving.observability.observer import Observer
from serving.observability.tracing import Tracing
from serving.queue.scan import Scan
from serving.queue.worker import Run
from serving.segmentation.judge import SlabJudge
from serving.segmentation.slab_inference import Slab, SlabInference, goes_whole
from serving.segmentation.stopwatch import ACTIVITIES, Stopwatch
from serving.segmentation.stored_segmentation import ResultDamaged, SegmentationWriter, StoredSegmentation
from serving.segmentation.stored_voxels import open_voxels
from serving.segmentation.writer import ResultWriter, SegmentedSlab
from serving.storage import Scratch, Store
from serving.storage.fenced_table import LeaseLost

_AHEAD = 1
"""Slabs that wait between two activities, unless they are large: of those there is one at a time."""
_LARGE_SLICE_BYTES = 32 << 20

Item = TypeVar("Item")
Made = TypeVar("Made")


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
            voxels = open_voxels(self._store, scan)
            reading, writing = (stack.enter_context(_thread(name)) for name in ("slab-reader", "slab-writer"))
            numbered = [(number, box) for number, box in enumerate(scan.boxes) if number >= run.lease.slabs_done]

            def read(item: tuple[int, Box]) -> Slab:
                number, box = item
                with watch.measuring("read"), self._tracing.span("slab read", slab=number):
                    return number, box, voxels.slab(number)

            whole = goes_whole(scan, model, self._batcher.memory, tile=self._tile)
            judge = SlabJudge(model, scan, whole_slices=whole, quality_limit=self._quality_limit)
            inference = SlabInference(
                self._batcher, run, model, judge, batch_size=batch_size, tile=self._tile, watch=watch
            )
            writer = ResultWriter(
                run,
                SegmentationWriter(attempt, folder, scan, earlier=partial(self._earlier, run)),
                judge,
                batch_size=batch_size,
                watch=watch,
                observer=self._observer,
            )

            def write(slab: SegmentedSlab) -> None:
                with self._tracing.span("slab write", slab=slab.number):
                    writer.write(slab)

            ahead = 0 if scan.slab_slices == 1 and scan.slab_bytes >= _LARGE_SLICE_BYTES else _AHEAD
            slabs = _ahead(ahead, reading, read, numbered, waiting=watch, activity="wait for read")
            segmented = self._traced(inference.of(slabs))
            for _ in _ahead(ahead, writing, write, segmented, waiting=watch, activity="wait for write"):
                run.check()

    def _earlier(self, run: Run, number: int) -> NDArray[np.uint8]:
        """A slab that is in the store already. Where it is damaged there, the scan begins anew: raises LeaseLost."""
        scan = run.lease.scan
        start, stop = scan.boxes[number].start[0], scan.boxes[number].stop[0]
        try:
            return StoredSegmentation(self._store, scan, run.lease.checksums).read(start, stop)
        except ResultDamaged as damaged:
            self._store.check()  # one that is away for a moment has lost nothing
            run.begin_anew(f"{damaged}; it is being made again")
            raise LeaseLost(f"scan {scan.id} begins anew") from damaged

    def _traced(self, slabs: Iterator[SegmentedSlab]) -> Iterator[SegmentedSlab]:
        """The same slabs, each with the span of its inference: from when the one before was whole to when it is."""
        began = time.time_ns()
        for slab in slabs:
            self._tracing.since("slab infer", began, slab=slab.number)
            yield slab
            del slab
            began = time.time_ns()


def _ahead(
    most: int,
    thread: ThreadPoolExecutor,
    work: Callable[[Item], Made],
    items: Iterable[Item],
    *,
    waiting: Stopwatch,
    activity: str,
) -> Iterator[Made]:
    """`work` of each item in order, done by the thread while the consumer is busy with earlier ones, `most` of them."""
    begun: deque[Future[Made]] = deque()

    def oldest() -> Made:
        with waiting.measuring(activity):
            return begun.popleft().result()

    for item in items:
        begun.append(thread.submit(work, item))
        del item
        if len(begun) > most:
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
