"""Parts: what servers and workers have in common, opened in order and closed in reverse."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from serving.inference.backpressure import SliceRoom
from serving.inference.batching import Batcher
from serving.inference.scheduling import ComputedBatch
from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.follower import Follower
from serving.models.loader import in_turn
from serving.models.served import Models
from serving.observability import logs
from serving.observability.tracing import Tracing
from serving.queue import census
from serving.queue.janitor import Janitor
from serving.queue.jobs import Jobs
from serving.queue.leases import Leases
from serving.queue.worker import Run, Worker
from serving.segmentation.pipeline import Segmenter
from serving.settings import Settings
from serving.shadow.candidate import ShadowModel
from serving.shadow.service import Shadow
from serving.storage import Scratch, Store, open_store
from serving.storage.database import Database
from serving.storage.locations import database_url
from serving.telemetry import Telemetry, Watched

_MOST_GPU_LANES = 16


@dataclass(frozen=True)
class Parts:
    """What servers and workers have in common."""

    database: Database
    store: Store
    models: Models
    batcher: Batcher
    jobs: Jobs
    janitor: Janitor
    worker: Worker | None
    alone: bool
    shadow: Shadow


@contextmanager
def opened(settings: Settings, scratch: Scratch, telemetry: Telemetry, tracing: Tracing) -> Iterator[Parts]:
    """In this order: database, store, the batching queue, models (none loaded yet), the queue of scans."""
    with ExitStack() as stack:
        database = Database(database_url(settings))
        alone = not database.shared
        store = open_store(settings, scratch)
        stack.enter_context(store.open(alone=alone))
        database.open()
        stack.callback(database.close)
        shadow = Shadow.of(settings, database, owner=owner(settings))
        batcher = _batcher(settings, shadow.listening(telemetry.batch_computed))
        stack.callback(batcher.close)
        models = _models(settings, store, scratch, batcher)
        work = _worker(
            settings,
            _leases(settings, database, shadow),
            store,
            telemetry=telemetry,
            segment=Segmenter(
                store=store,
                scratch=scratch,
                models=models,
                batcher=batcher,
                tile=settings.tile,
                quality_limit=settings.quality_limit,
                on_spent=telemetry.time_spent,
                on_slab=telemetry.slab_finished,
                on_judged=telemetry.judged,
                on_departure=telemetry.departed,
                tracing=tracing,
            ).segment,
        )
        jobs = Jobs(database, owner=owner(settings), on_change=work.look if work else lambda: None)
        janitor = Janitor(store=store, jobs=jobs, retention_days=settings.retention_days)
        with telemetry.watching(_watched(settings, scratch, database, batcher, models)):
            yield Parts(database, store, models, batcher, jobs, janitor, work, alone, shadow)


def _batcher(settings: Settings, on_batch: Callable[[ComputedBatch], None]) -> Batcher:
    room = SliceRoom(settings.queue_slices, settings.queue_slice_bytes)
    return Batcher(lanes=max(os.cpu_count() or 1, _MOST_GPU_LANES), on_batch=on_batch, room=room)


def _models(settings: Settings, store: Store, scratch: Scratch, batcher: Batcher) -> Models:
    return Models(
        store.models_dir,
        device=settings.device,
        tuner=Tuner(scratch.root, overrides=TuningOverrides(threads=settings.threads, batch_size=settings.batch_size)),
        precision=settings.precision,
        remote=store,
        answer=in_turn(batcher),
    )


def _worker(
    settings: Settings, leases: Leases, store: Store, *, telemetry: Telemetry, segment: Callable[[Run], None]
) -> Worker | None:
    if not settings.concurrent_scans:
        return None
    return Worker(
        leases,
        segment=segment,
        concurrent_scans=settings.concurrent_scans,
        attempts=settings.attempts,
        check_store=store.check,
        on_end=telemetry.scan_ended,
    )


def _leases(settings: Settings, database: Database, shadow: Shadow) -> Leases:
    seconds = settings.lease_seconds
    leases = Leases(database, owner=owner(settings), seconds=seconds, on_success=shadow.scan_succeeded)
    if left := leases.take_back(alone=not database.shared):
        logs.event("scans_taken_back", scans=left)
    return leases


@contextmanager
def shadowed(settings: Settings, parts: Parts, scratch: Scratch, counters: Telemetry) -> Iterator[None]:
    """The shadow runs, where there is one, for as long as the context lasts."""
    store, batcher = parts.store, parts.batcher
    with (
        contextlib.closing(ShadowModel.of(settings, store, scratch)) as model,
        parts.shadow.running(parts.worker, model=model, store=store, batcher=batcher, counters=counters),
    ):
        yield


def _watched(settings: Settings, scratch: Scratch, database: Database, batcher: Batcher, models: Models) -> Watched:
    store = {"store": settings.store_dir} if settings.store_dir else {}
    return Watched(
        census=lambda: census.count(database),
        depth=batcher.depth,
        models=models.served,
        disks={**store, "scratch": scratch.root},
        uploads={"resumable": scratch.uploads_dir, "request": scratch.root / "incoming"},
    )


def owner(settings: Settings) -> str:
    """Name of this process, in the queue and in traces."""
    return settings.worker_id or f"{socket.gethostname()}-{os.getpid()}"


@contextmanager
def running(*parts: Follower | Janitor | Worker | None) -> Iterator[None]:
    """Starts them in their order; they stop in reverse."""
    with ExitStack() as stack:
        for part in parts:
            if part is not None:
                part.start()
                stack.callback(part.stop)
        yield
