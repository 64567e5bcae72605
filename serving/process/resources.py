"""Resources: what a running server or worker consists of, opened in order and closed in reverse."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from serving.api.dependencies import Resources
from serving.auth.authentication import Auth, check_exposure
from serving.auth.keys import Keys
from serving.intake.acceptance import Intake
from serving.intake.admission import Admission, QueueLimits
from serving.intake.limits import Limits
from serving.intake.sources import Sources
from serving.intake.tus import Uploads
from serving.models.follower import Follower
from serving.models.webhooks import Webhook
from serving.observability.readiness import Readiness
from serving.observability.tracing import Tracing
from serving.process.components import Parts, opened, owner, running, shadowed
from serving.protocol.catalogue import ModelCatalogue
from serving.protocol.repository import Repository
from serving.protocol.shared_memory import Regions
from serving.protocol.statistics import Statistics
from serving.queue import load
from serving.segmentation.results import Results
from serving.settings import Settings
from serving.storage import Scratch, StoreError
from serving.storage.database import Database
from serving.storage.locations import scratch_dir
from serving.telemetry import Telemetry


@contextmanager
def server(settings: Settings, *, telemetry: Telemetry, tracing: Tracing) -> Iterator[Resources]:
    """The resources of a server, open for as long as the context lasts.

    In this order: scratch, database, store, the model (checked on its golden slice), then the worker, which may need
    all of them at once. Raises StoreError, DatabaseError, NoKeys or ModelError.
    """
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch(scratch_dir(settings)).opened())
        parts = stack.enter_context(opened(settings, scratch, telemetry, tracing))
        auth = _auth(settings, parts.database)
        stack.callback(auth.quotas.close)
        if references := settings.references:
            parts.models.serve(*references)
        catalogue = stack.enter_context(_catalogue(settings, parts))
        follower = Follower(parts.models, every_seconds=settings.follow_seconds, listener=telemetry)
        uploads = _uploads(settings, parts, scratch)
        stack.enter_context(running(parts.janitor, parts.worker, follower))
        stack.enter_context(shadowed(settings, parts, scratch, telemetry))
        stack.enter_context(parts.shadow.published())
        admission = _admission(settings, parts.database)
        intake = _intake(settings, parts, admission, scratch=scratch, uploads=uploads, tracing=tracing, told=telemetry)
        parts.janitor.also(intake.deferred_writes.retry)
        yield Resources(
            parts.models,
            parts.batcher,
            parts.jobs,
            parts.janitor,
            intake,
            uploads,
            Results(parts.store),
            _readiness(settings, parts, scratch),
            telemetry,
            parts.worker,
            auth,
            catalogue,
            Regions(),
            admission,
            follower,
            _webhook(settings, follower),
            parts.shadow,
        )


def _uploads(settings: Settings, parts: Parts, scratch: Scratch) -> Uploads:
    """Clears what an earlier process left, and has the janitor look after what this one will leave."""
    limits = Limits(scratch.root, settings.upload_limit_bytes)
    uploads = Uploads(scratch.uploads_dir, limits=limits, expiry_seconds=settings.upload_expiry_hours * 3600)
    uploads.expire(starting=True)
    parts.janitor.also(uploads.expire)
    parts.janitor.also(parts.shadow.sweep)
    parts.janitor.sweep(starting=True, alone=parts.alone)
    parts.janitor.also(lambda: parts.models.prune(parts.jobs.needed_models()))
    parts.janitor.also(parts.models.confirm)
    return uploads


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
        parts = stack.enter_context(opened(settings, scratch, telemetry, tracing))
        stack.enter_context(telemetry.answered_on(settings.host, settings.metrics_port))
        if parts.worker is None:
            raise StoreError("RICEFISH_CONCURRENT_SCANS is 0; a worker needs at least 1")
        stack.enter_context(running(parts.worker))
        stack.enter_context(shadowed(settings, parts, scratch, telemetry))
        yield owner(settings)


def _intake(
    settings: Settings,
    parts: Parts,
    admission: Admission,
    *,
    scratch: Scratch,
    uploads: Uploads,
    tracing: Tracing,
    told: Telemetry,
) -> Intake:
    return Intake(
        store=parts.store,
        scratch=scratch,
        models=parts.models,
        jobs=parts.jobs,
        uploads=uploads,
        sources=Sources(settings.source_roots, settings.source_buckets, settings.s3_endpoint),
        limits=uploads.limits,
        admission=admission,
        silence_seconds=settings.upload_timeout_seconds,
        slab_slices=settings.slab_slices,
        tracing=tracing,
        on_departure=told.departed,
    )


def _auth(settings: Settings, database: Database) -> Auth:
    keys = Keys(database)
    check_exposure(settings.host, keys, anonymous=settings.anonymous)
    return Auth(keys)


@contextmanager
def _catalogue(settings: Settings, parts: Parts) -> Iterator[ModelCatalogue]:
    statistics = Statistics()
    repository = Repository(
        settings.model_repository,
        device=settings.device,
        threads=settings.threads,
        statistics=statistics,
        most_waiting=settings.queue_slices,
    )
    with contextlib.closing(repository):
        repository.load_all()
        yield ModelCatalogue(parts.models, parts.batcher, repository, statistics)


def _admission(settings: Settings, database: Database) -> Admission:
    most = QueueLimits(settings.queue_scans, settings.queue_bytes, settings.queue_age_seconds)
    return Admission(lambda: load.measure(database, but_arriving_at=owner(settings)), most)


def _webhook(settings: Settings, follower: Follower) -> Webhook:
    secret = settings.webhook_secret
    return Webhook(None if secret is None else secret.get_secret_value(), look=follower.look)


def _readiness(settings: Settings, parts: Parts, scratch: Scratch) -> Readiness:
    return Readiness(
        needed={"database": parts.database.check, "store": parts.store.check, "scratch": scratch.check},
        threads={"batching": parts.batcher, **({"worker": parts.worker} if parts.worker else {})},
        model=lambda: parts.models.current if settings.references else None,
    )


@contextmanager
def _worker_scratch(worker_id: str | None) -> Iterator[Path]:
    """Among the temporary files: always the same for a worker with a name, which finds and clears what it left."""
    if worker_id is not None:
        yield Path(tempfile.gettempdir()) / f"ricefish-{worker_id}"
        return
    with tempfile.TemporaryDirectory(prefix="ricefish-") as folder:
        yield Path(folder)
