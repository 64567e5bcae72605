"""Comparison: one scan through the shadow, slab by slab, beside what was answered. Memory is that of one slab."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from scans.intensity import Window
from scans.tiling import HALO, segment_slab
from serving.inference.batching import Batcher
from serving.inference.scheduling import Urgency
from serving.models.served import LoadedModel
from serving.observability import logs
from serving.observability.reasons import reason
from serving.queue.worker import Interrupted
from serving.segmentation.stored_segmentation import StoredSegmentation
from serving.segmentation.stored_voxels import open_voxels
from serving.shadow.agreement import Matching, OrganAgreement
from serving.shadow.comparison_queue import ShadowLease, ShadowQueue
from serving.storage import Store
from serving.storage.fenced_table import LeaseLost

_LOOKING_SECONDS = 0.1


@dataclass
class Comparison:
    """One lease being worked on."""

    lease: ShadowLease
    model: LoadedModel
    stopping: threading.Event
    """Set when this process stops."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set when the lease is no longer this process's."""

    def check(self) -> None:
        """Raises Interrupted or LeaseLost where it must stop."""
        if self.lost.is_set():
            raise LeaseLost(f"the comparison of scan {self.lease.scan.id} is no longer this process's")
        if self.stopping.is_set():
            raise Interrupted

    def rest(self) -> None:
        """Waits for a moment, unless it must stop."""
        self.stopping.wait(_LOOKING_SECONDS)
        self.check()


class Comparer:
    """Runs the shadow with the store and the batching queue of a process, whenever there is nothing else to do."""

    def __init__(
        self, queue: ShadowQueue, *, store: Store, batcher: Batcher, idle: Callable[[], bool], tile: int | None
    ) -> None:
        """Before each batch, it waits until it is `idle`."""
        self._queue = queue
        self._store = store
        self._batcher = batcher
        self._idle = idle
        self._tile = tile

    def compare(self, comparison: Comparison) -> OrganAgreement:
        """All slabs that are not counted yet; each is durable once it is.

        Raises Interrupted or LeaseLost where it must stop, NothingInCommon, DataDamaged, and what store and device
        raise.
        """
        lease, model = comparison.lease, comparison.model
        scan = lease.scan
        matching = Matching.of(champion=scan.organs, shadow=model.manifest.organs)
        done, agreement = 0, matching.none()
        if lease.shadow_key == model.identity.key and lease.agreement is not None:
            done, agreement = lease.slabs_done, lease.agreement
        with ExitStack() as stack:
            stack.enter_context(self._kept(comparison))
            voxels = open_voxels(self._store, scan)
            window = model.manifest.intensity.window(voxels.volume)
            answered = StoredSegmentation(self._store, scan, lease.checksums)
            for number, box in enumerate(scan.boxes[done:], start=done):
                comparison.check()
                start, stop = box.start[0], box.stop[0]
                shadow = self._segmented(comparison, voxels.slab(number), window)
                agreement += matching.compare(champion=answered.read(start, stop), shadow=shadow)
                self._queue.commit(lease, shadow=model.identity, slabs_done=number + 1, agreement=agreement)
                logs.event("shadow_slab_compared", scan=scan.id, slab=number, slabs=len(scan.boxes))
        return agreement

    def _segmented(self, comparison: Comparison, slab: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        """uint8 (z, Y, X): what the shadow says of a slab, one batch in the queue at a time."""
        size = comparison.model.tuning.batch_size(*slab.shape[1:])

        def ask(slices: NDArray[Any]) -> NDArray[np.uint8]:
            return self._answer(comparison, slices, window)

        if self._tile is not None and max(slab.shape[1:]) > self._tile:
            return segment_slab(slab, ask, batch_size=size, tile=self._tile, halo=HALO)
        return np.concatenate([ask(slab[first : first + size]) for first in range(0, len(slab), size)])

    def _answer(self, comparison: Comparison, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        comparison.check()
        while not self._idle():
            comparison.rest()
        runtime, batch = comparison.model.runtime, comparison.model.tuning.batch_pixels
        asked: Future[NDArray[np.uint8]] = self._batcher.submit(
            slices,
            window=window,
            network=runtime,
            urgency=Urgency.SHADOW,
            stream=f"shadow {comparison.lease.scan.id}",
            halo=HALO,
            most_pixels=self._batcher.memory.scan_pixels(runtime.pixel_bytes, lanes=runtime.lanes, batch_pixels=batch),
        )
        try:
            while True:
                with contextlib.suppress(NotYet):
                    return asked.result(_LOOKING_SECONDS)
                comparison.check()
        finally:
            asked.cancel()

    @contextmanager
    def _kept(self, comparison: Comparison) -> Iterator[None]:
        """Renews the lease in a thread for as long as the context lasts."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(self._queue.seconds / 3):
                try:
                    self._queue.renew(comparison.lease)
                except LeaseLost:
                    comparison.lost.set()
                    return
                except Exception as error:  # until the next try, or until another takes it up
                    event = "database_failed" if isinstance(error, SQLAlchemyError) else "shadow_failed"
                    logs.event(event, level=logging.ERROR, doing="renew shadow", error=reason(error))

        keeper = threading.Thread(target=keep, name="shadow-keeper", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
