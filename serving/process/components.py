"""Components: what servers and workers have in common, made from their settings."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from serving.inference.backpressure import SliceRoom
from serving.inference.batching import Batcher
from serving.inference.slice_memory import SliceMemory
from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.loader import in_turn
from serving.models.served import LoadedModel, Models
from serving.observability import logs
from serving.observability.gauges import QueuedScans, WaitingScans, Watched
from serving.observability.telemetry import Telemetry
from serving.observability.tracing import Tracing
from serving.queue import census
from serving.queue.janitor import Janitor
from serving.queue.jobs import Jobs, Priority
from serving.queue.leases import Leases
from serving.queue.worker import Worker
from serving.review import enrolment
from serving.segmentation.corrections import Corrections
from serving.segmentation.pipeline import Segmenter
from serving.settings import Settings
from serving.shadow.candidate import ShadowModel
from serving.shadow.comparison_queue import ShadowQueue, sweep
from serving.shadow.report import ShadowReport
from serving.shadow.service import Shadow
from serving.storage import Scratch, Store, open_store
from serving.storage.database import Database
from serving.storage.locations import database_url

_MOST_GPU_LANES = 16


@dataclass(frozen=True)
class Components:
    """What servers and workers have in common."""

    settings: Settings
    scratch: Scratch
    telemetry: Telemetry
    tracing: Tracing
    database: Database
    store: Store
    batcher: Batcher
    models: Models
    """None loaded yet."""
    worker: Worker | None
    jobs: Jobs
    janitor: Janitor
    corrections: Corrections
    shadow: Shadow

    @property
    def alone(self) -> bool:
        """True where no other process shares the queue."""
        return not self.database.shared


class Startable(Protocol):
    """What has threads of its own."""

    def start(self) -> None:
        """Begins to work."""
        ...

    def stop(self) -> None:
        """Ends; returns when it has."""
        ...


@contextmanager
def opened(settings: Settings, scratch: Scratch, telemetry: Telemetry, tracing: Tracing) -> Iterator[Components]:
    """In this order: store, database, the batching queue, models, the queue of scans. Nothing works yet."""
    with ExitStack() as stack:
        database = Database(database_url(settings))
        store = open_store(settings, scratch)
        stack.enter_context(store.open(alone=not database.shared))
        database.open()
        stack.callback(database.close)
        batcher = _batcher(settings, telemetry)
        stack.callback(batcher.close)
        models = _models(settings, store, scratch, batcher)
        shadow = _shadow(settings, database)
        segmenter = Segmenter(
            store=store,
            scratch=scratch,
            models=models,
            batcher=batcher,
            tile=settings.tile,
            quality_limit=settings.quality_limit,
            observer=telemetry,
            tracing=tracing,
        )
        worker = _worker(settings, _leases(settings, database, shadow), store, segmenter, telemetry)
        jobs = Jobs(database, owner=owner(settings), on_change=worker.look if worker else lambda: None)
        janitor = Janitor(store=store, jobs=jobs, retention_days=settings.retention_days)
        janitor.also(lambda: sweep(database), name="shadow")
        janitor.also(lambda: enrolment.sweep(database), name="reviews")
        corrections = Corrections(database, store, owner=owner(settings))
        janitor.also(corrections.sweep, name="corrections")
        with telemetry.watching(_watched(settings, scratch, database, batcher, models)):
            parts = (batcher, models, worker, jobs, janitor, corrections, shadow)
            yield Components(settings, scratch, telemetry, tracing, database, store, *parts)


@contextmanager
def running(components: Components, *parts: Startable | None) -> Iterator[None]:
    """Starts the parts in their order, and then the shadow; they stop in reverse."""
    shadow, store, scratch = components.shadow, components.store, components.scratch
    with ExitStack() as stack:
        for part in parts:
            if part is not None:
                part.start()
                stack.callback(part.stop)
        model = stack.enter_context(contextlib.closing(ShadowModel.of(components.settings, store, scratch)))
        stack.enter_context(
            shadow.running(
                components.worker,
                model=model,
                store=store,
                batcher=components.batcher,
                tile=components.settings.tile,
                alone=components.alone,
                observer=components.telemetry,
            )
        )
        yield


def owner(settings: Settings) -> str:
    """Name of this process, in the queue and in traces."""
    return settings.worker_id or f"{socket.gethostname()}-{os.getpid()}"


def _batcher(settings: Settings, telemetry: Telemetry) -> Batcher:
    room = SliceRoom(settings.queue_slices, settings.queue_slice_bytes)
    memory = SliceMemory(settings.slice_memory_bytes, settings.scan_memory_bytes)
    return Batcher(lanes=max(os.cpu_count() or 1, _MOST_GPU_LANES), observer=telemetry, room=room, memory=memory)


def _models(settings: Settings, store: Store, scratch: Scratch, batcher: Batcher) -> Models:
    return Models(
        store.models_dir,
        device=settings.device,
        tuner=Tuner(scratch.root, overrides=TuningOverrides(threads=settings.threads, batch_size=settings.batch_size)),
        precision=settings.precision,
        engine=settings.engine,
        remote=store,
        answer=in_turn(batcher),
    )


def _shadow(settings: Settings, database: Database) -> Shadow:
    share = settings.shadow_share if settings.shadow else 0.0
    queue = ShadowQueue(database, owner=owner(settings), seconds=settings.lease_seconds, share=share)
    return Shadow(settings.shadow, settings.shadow_share, queue, ShadowReport(database))


def _leases(settings: Settings, database: Database, shadow: Shadow) -> Leases:
    seconds = settings.lease_seconds
    leases = Leases(database, owner=owner(settings), seconds=seconds, on_success=shadow.queue.want)
    if left := leases.take_back(alone=not database.shared):
        logs.event("scans_taken_back", scans=left)
    return leases


def _worker(
    settings: Settings, leases: Leases, store: Store, segmenter: Segmenter, telemetry: Telemetry
) -> Worker | None:
    if not settings.concurrent_scans:
        return None
    return Worker(
        leases,
        segment=segmenter.segment,
        concurrent_scans=settings.concurrent_scans,
        attempts=settings.attempts,
        check_store=store.check,
        observer=telemetry,
    )


def _watched(settings: Settings, scratch: Scratch, database: Database, batcher: Batcher, models: Models) -> Watched:
    store = {"store": settings.store_dir} if settings.store_dir else {}
    return Watched(
        queue=lambda: _queued(census.count(database)),
        depth=lambda: {urgency.name.lower(): slices for urgency, slices in batcher.depth().items()},
        models=lambda: [_labels(model) for model in models.served()],
        disks={**store, "scratch": scratch.root},
        uploads={"resumable": scratch.uploads_dir, "request": scratch.root / "incoming"},
    )


def _labels(model: LoadedModel) -> tuple[str, ...]:
    identity = model.identity
    how = (model.precision, model.runtime.provider, model.runtime.engine)
    return (identity.name, identity.version or "", identity.sha256, *how)


def _queued(counted: census.Census) -> QueuedScans:
    waiting = {
        priority.name.lower(): WaitingScans(
            counted.waiting(priority),
            counted.oldest_seconds(priority),
            counted.load.of(priority).bytes,
            counted.load.of(priority).voxels,
        )
        for priority in Priority
    }
    return QueuedScans(
        states=counted.states,
        waiting=waiting,
        left_behind=counted.left_behind,
        query_seconds=counted.seconds,
        voxels_per_second=counted.load.voxels_per_second,
        work_seconds=counted.load.seconds,
    )
