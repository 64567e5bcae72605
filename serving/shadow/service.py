"""Service: the shadow of a process: what it compares, whether it may just now, and what has come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.inference.batching import Batcher
from serving.models.references import is_registered
from serving.models.registry import tag_version
from serving.models.served import LoadedModel
from serving.observability.observer import Observer
from serving.queue.worker import Worker
from serving.shadow.comparison import Comparer
from serving.shadow.comparison_queue import ShadowQueue
from serving.shadow.idleness import Idleness
from serving.shadow.publisher import Publisher
from serving.shadow.report import ShadowReport
from serving.shadow.runner import ShadowWorker
from serving.storage import Store


@dataclass(frozen=True)
class Shadow:
    """The shadow of a process; without one, it wants nothing, does nothing, and reports what others did."""

    reference: str
    """RICEFISH_SHADOW; empty: none."""
    share: float
    """Of all scans, those that are compared, 0..1."""
    queue: ShadowQueue
    report: ShadowReport
    _working: list[ShadowWorker | Publisher] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """False if one of its threads has ended although it was not told to stop."""
        return all(part.alive for part in list(self._working))

    @contextmanager
    def running(
        self,
        worker: Worker | None,
        *,
        model: Callable[[], LoadedModel | None],
        store: Store,
        batcher: Batcher,
        tile: int | None,
        alone: bool,
        observer: Observer,
    ) -> Iterator[None]:
        """The shadow runs, whenever this process's worker is idle, for as long as the context lasts.

        `model` gives it, None while there is none; `alone`: no other process shares the queue. A process without a
        shadow or a worker leaves it to others.
        """
        if not self.reference or worker is None:
            yield
            return
        self.queue.take_back(alone=alone)
        idle = Idleness(
            busy=lambda: worker.busy, depth=batcher.depth, last_slice_seconds=lambda: batcher.last_slice_seconds
        )
        comparer = Comparer(self.queue, store=store, batcher=batcher, idle=idle, tile=tile)
        runner = ShadowWorker(self.queue, model=model, comparer=comparer, idle=idle, observer=observer)
        runner.start()
        self._working.append(runner)
        try:
            yield
        finally:
            runner.stop()

    @contextmanager
    def published(self) -> Iterator[None]:
        """Keeps the registry told for as long as the context lasts, where the shadow is the registry's."""
        if not is_registered(self.reference):
            yield
            return
        publisher = Publisher(self.report, write=tag_version)
        publisher.start()
        self._working.append(publisher)
        try:
            yield
        finally:
            publisher.stop()
