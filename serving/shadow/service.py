"""Parts: what a process has for its shadow, put together from its settings. The only place that knows them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from serving.inference.batching import Batcher
from serving.inference.scheduling import ComputedBatch
from serving.models.references import is_registered
from serving.models.registry import tag_version
from serving.models.served import LoadedModel
from serving.queue.scan import Scan
from serving.queue.worker import Worker
from serving.settings import Settings
from serving.shadow.comparison import Comparer
from serving.shadow.comparison_queue import ShadowQueue, sweep
from serving.shadow.idleness import Idleness
from serving.shadow.publisher import Publisher
from serving.shadow.report import ShadowReport
from serving.shadow.runner import Counters, ShadowWorker
from serving.storage import Store
from serving.storage.database import Database


@dataclass(frozen=True)
class Shadow:
    """The shadow of a process; without one, it wants nothing, does nothing, and reports what others did."""

    reference: str
    """RICEFISH_SHADOW; empty: none."""
    share: float
    tile: int | None
    database: Database
    queue: ShadowQueue
    idle: Idleness
    report: ShadowReport

    @classmethod
    def of(cls, settings: Settings, database: Database, *, owner: str) -> Shadow:
        """By the settings of a process that is named `owner` in the queue."""
        queue = ShadowQueue(
            database, owner=owner, seconds=settings.lease_seconds, share=settings.shadow_share if settings.shadow else 0
        )
        report = ShadowReport(database)
        return cls(settings.shadow, settings.shadow_share, settings.tile, database, queue, Idleness(), report)

    def listening(self, on_batch: Callable[[ComputedBatch], None]) -> Callable[[ComputedBatch], None]:
        """The same, where the shadow hears of each batch as well, so as to keep out of its way."""

        def both(batch: ComputedBatch) -> None:
            self.idle.batch_computed(batch)
            on_batch(batch)

        return both

    def scan_succeeded(self, connection: Connection, scan: Scan) -> None:
        """Wants a comparison, within the transaction in which a scan succeeds."""
        self.queue.want(connection, scan)

    def sweep(self) -> None:
        """Lets go of scans that were removed."""
        sweep(self.database)

    @contextmanager
    def running(
        self,
        worker: Worker | None,
        *,
        model: Callable[[], LoadedModel | None],
        store: Store,
        batcher: Batcher,
        counters: Counters,
    ) -> Iterator[None]:
        """The shadow runs, whenever this process's worker is idle, for as long as the context lasts.

        `model` gives it, None while there is none. A process without a shadow or a worker leaves it to others.
        """
        if not self.reference or worker is None:
            yield
            return
        self.idle.watch(busy=lambda: worker.busy, depth=batcher.depth)
        self.queue.take_back(alone=not self.database.shared)
        comparer = Comparer(self.queue, store=store, batcher=batcher, idle=self.idle, tile=self.tile)
        shadow = ShadowWorker(self.queue, model=model, comparer=comparer, idle=self.idle, counters=counters)
        shadow.start()
        try:
            yield
        finally:
            shadow.stop()

    @contextmanager
    def published(self) -> Iterator[None]:
        """Keeps the registry told for as long as the context lasts, where the shadow is the registry's."""
        if not is_registered(self.reference):
            yield
            return
        publisher = Publisher(self.report, write=tag_version)
        publisher.start()
        try:
            yield
        finally:
            publisher.stop()
