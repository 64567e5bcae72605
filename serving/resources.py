"""Resources: what a running server or worker consists of, opened in order and closed in reverse."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from serving import census, logs
from serving.auth import Auth, check_exposure
from serving.batching import Batcher
from serving.database import Database
from serving.identity import ANYONE, Identity
from serving.intake import Intake
from serving.janitor import Janitor
from serving.jobs import Jobs
from serving.keys import Keys
from serving.leases import Leases
from serving.limits import Limits
from serving.models import Models
from serving.places import database_url, scratch_dir
from serving.readiness import Readiness
from serving.results import Results
from serving.segmenter import Segmenter
from serving.settings import Settings
from serving.sources import Sources
from serving.store import Scratch, Store, StoreError, open_store
from serving.telemetry import Telemetry, Watched
from serving.tracing import Tracing
from serving.tuning import Tuner, Wanted
from serving.uploads import Uploads
from serving.worker import Worker

_MOST_GPU_LANES = 16


@dataclass(frozen=True)
class Resources:
    """What routes are handed; on `app.state.resources` while the app runs."""

    models: Models
    batcher: Batcher
    jobs: Jobs
    janitor: Janitor
    intake: Intake
    uploads: Uploads
    results: Results
    readiness: Readiness
    telemetry: Telemetry
    worker: Worker | None
    auth: Auth
    caller: Identity = ANYONE
    """On whose behalf they are used."""

    def seen_by(self, identity: Identity) -> Resources:
        """The same, where scans and uploads of other owners do not exist and new ones are this identity's."""
        jobs, uploads = self.jobs.seen_by(identity), self.uploads.seen_by(identity)
        return replace(self, jobs=jobs, uploads=uploads, intake=self.intake.using(jobs, uploads), caller=identity)


@contextmanager
def server(settings: Settings, *, telemetry: Telemetry, tracing: Tracing) -> Iterator[Resources]:
    """The resources of a server, open for as long as the context lasts.

    In this order: scratch, database, store, the model (checked on its golden slice), then the worker, which may need
    all of them at once. Raises StoreError, DatabaseError, NoKeys or ModelError.
    """
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch(scratch_dir(settings)).opened())
        parts = stack.enter_context(_parts(settings, scratch, telemetry, tracing))
        auth = _auth(settings, parts.database)
        stack.callback(auth.allowances.close)
        parts.store.keep_model(parts.models.serve(settings.model).identity.key)
        limits = Limits(scratch.root, settings.upload_limit_bytes)
        uploads = Uploads(scratch.uploads_dir, limits=limits, expiry_seconds=settings.upload_expiry_hours * 3600)
        uploads.expire(starting=True)
        parts.janitor.also(uploads.expire)
        parts.janitor.sweep(starting=True, alone=parts.alone)
        parts.models.prune(parts.jobs.needed_models())
        stack.enter_context(_running(parts.janitor))
        stack.enter_context(_running(parts.worker))
        intake = _intake(settings, parts, scratch=scratch, uploads=uploads, limits=limits, tracing=tracing)
        yield Resources(
            parts.models,
            parts.batcher,
            parts.jobs,
            parts.janitor,
            intake,
            uploads,
            Results(parts.store),
            _readiness(parts, scratch),
            telemetry,
            parts.worker,
            auth,
        )


@contextmanager
def worker(settings: Settings) -> Iterator[str]:
    """The resources of a process that only works on the queue; gives its name there.

    Raises as `server`, and StoreError without a queue that can be shared.
    """
    if settings.database_url is None or not Database(settings.database_url).shared:
        raise StoreError("a worker shares a server's queue: give both the same RICEFISH_DATABASE_URL, PostgreSQL's")
    with ExitStack() as stack:
        folder = settings.scratch or stack.enter_context(_worker_scratch(settings.worker_id))
        scratch = stack.enter_context(Scratch(folder).opened())
        telemetry = Telemetry()
        tracing = stack.enter_context(contextlib.closing(Tracing.to(settings.otlp_endpoint, instance=owner(settings))))
        parts = stack.enter_context(_parts(settings, scratch, telemetry, tracing))
        stack.enter_context(telemetry.answered_on(settings.host, settings.metrics_port))
        if parts.worker is None:
            raise StoreError("RICEFISH_CONCURRENT_SCANS is 0; a worker needs at least 1")
        stack.enter_context(_running(parts.worker))
        yield owner(settings)


@dataclass(frozen=True)
class _Parts:
    """What servers and workers have in common."""

    database: Database
    store: Store
    models: Models
    batcher: Batcher
    jobs: Jobs
    janitor: Janitor
    worker: Worker | None
    alone: bool
    telemetry: Telemetry


@contextmanager
def _parts(settings: Settings, scratch: Scratch, telemetry: Telemetry, tracing: Tracing) -> Iterator[_Parts]:
    with ExitStack() as stack:
        database = Database(database_url(settings))
        alone = not database.shared
        store = open_store(settings, scratch)
        stack.enter_context(store.open(alone=alone))
        database.open()
        stack.callback(database.close)
        tuner = Tuner(scratch.root, wanted=Wanted(threads=settings.threads, batch_size=settings.batch_size))
        models = Models(
            store.models_dir, device=settings.device, tuner=tuner, precision=settings.precision, fetch=store.fetch_model
        )
        batcher = Batcher(lanes=max(os.cpu_count() or 1, _MOST_GPU_LANES), on_batch=telemetry.batch_computed)
        stack.callback(batcher.close)
        leases = Leases(database, owner=owner(settings), seconds=settings.lease_seconds)
        if left := leases.take_back(alone=alone):
            logs.event("scans_taken_back", scans=left)
        work = None
        if settings.concurrent_scans:
            segmenter = _segmenter(settings, store, scratch, models, batcher, telemetry=telemetry, tracing=tracing)
            work = Worker(
                leases,
                segment=segmenter.segment,
                concurrent_scans=settings.concurrent_scans,
                attempts=settings.attempts,
                on_end=telemetry.scan_ended,
            )
        jobs = Jobs(database, owner=owner(settings), on_change=work.look if work else lambda: None)
        janitor = Janitor(store=store, jobs=jobs, retention_days=settings.retention_days)
        with telemetry.watching(_watched(settings, scratch, database, batcher, models)):
            yield _Parts(database, store, models, batcher, jobs, janitor, work, alone, telemetry)


def _segmenter(  # noqa: PLR0913 - the parts of a process that segmenting needs
    settings: Settings,
    store: Store,
    scratch: Scratch,
    models: Models,
    batcher: Batcher,
    *,
    telemetry: Telemetry,
    tracing: Tracing,
) -> Segmenter:
    return Segmenter(
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
    )


def _intake(  # noqa: PLR0913 - the parts of a server that taking in needs
    settings: Settings, parts: _Parts, *, scratch: Scratch, uploads: Uploads, limits: Limits, tracing: Tracing
) -> Intake:
    return Intake(
        store=parts.store,
        scratch=scratch,
        models=parts.models,
        jobs=parts.jobs,
        uploads=uploads,
        sources=Sources(settings.source_roots, settings.source_buckets, settings.s3_endpoint),
        limits=limits,
        silence_seconds=settings.upload_timeout_seconds,
        slab_slices=settings.slab_slices,
        tracing=tracing,
        on_departure=parts.telemetry.departed,
    )


def _auth(settings: Settings, database: Database) -> Auth:
    keys = Keys(database)
    check_exposure(settings.host, keys, anonymous=settings.anonymous)
    return Auth(keys)


def _readiness(parts: _Parts, scratch: Scratch) -> Readiness:
    return Readiness(
        needed={"database": parts.database.check, "store": parts.store.check, "scratch": scratch.check},
        threads={"batching": parts.batcher, **({"worker": parts.worker} if parts.worker else {})},
        model=lambda: parts.models.current,
    )


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
def _worker_scratch(worker_id: str | None) -> Iterator[Path]:
    """Among the temporary files: always the same for a worker with a name, which finds and clears what it left."""
    if worker_id is not None:
        yield Path(tempfile.gettempdir()) / f"ricefish-{worker_id}"
        return
    with tempfile.TemporaryDirectory(prefix="ricefish-") as folder:
        yield Path(folder)


@contextmanager
def _running(part: Janitor | Worker | None) -> Iterator[None]:
    if part is None:
        yield
        return
    part.start()
    try:
        yield
    finally:
        part.stop()
