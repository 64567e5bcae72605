"""Wiring: what a server and a worker consist of, made from their settings, opened in order and closed in reverse."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from serving.api.dependencies import Resources
from serving.api.known_stores import KnownStores
from serving.api.slow_answers import SlowAnswers
from serving.auth.authentication import Auth, check_exposure
from serving.auth.keys import Keys
from serving.auth.sessions import Sessions
from serving.inference.scheduling import Urgency
from serving.intake.acceptance import Acceptance
from serving.intake.admission import Admission, QueueLimits
from serving.intake.arrived import are_owned
from serving.intake.correction_intake import CorrectionIntake
from serving.intake.limits import Limits
from serving.intake.pools import Pools
from serving.intake.reader_pool import ReaderPool
from serving.intake.reception import Intake
from serving.intake.sources import Sources
from serving.intake.tus import Uploads
from serving.models.champions import Champions
from serving.models.follower import Follower
from serving.models.loaded_model import REASONS
from serving.models.webhooks import Webhook
from serving.observability.readiness import Readiness, Threads
from serving.observability.telemetry import Labels, Telemetry
from serving.observability.tracing import Tracing
from serving.process.components import Components, opened, owner, running
from serving.protocol.body_room import BodyRoom
from serving.protocol.catalogue import ModelCatalogue
from serving.protocol.repository import Repository
from serving.protocol.shared_memory import Regions
from serving.protocol.statistics import Statistics
from serving.queue import load
from serving.queue.worker import Ending
from serving.review.reviewing import Reviews
from serving.segmentation.results import Results
from serving.segmentation.stopwatch import ACTIVITIES
from serving.settings import Settings
from serving.shadow.runner import ShadowEnding
from serving.storage import Scratch, StoreError
from serving.storage.database import Database
from serving.storage.locations import scratch_dir


def telemetry_of_process() -> Telemetry:
    """What a process counts, with the series that are known beforehand."""
    return Telemetry(
        Labels(
            urgencies=tuple(urgency.name.lower() for urgency in Urgency),
            activities=ACTIVITIES,
            outcomes=tuple(ending.value for ending in Ending if ending.final),
            interruptions=tuple(ending.value for ending in Ending if not ending.final),
            shadow_outcomes=tuple(ending.value for ending in ShadowEnding),
            refusals=REASONS,
        )
    )


@contextmanager
def server(settings: Settings, *, telemetry: Telemetry, tracing: Tracing) -> Iterator[Resources]:
    """The resources of a server, open for as long as the context lasts.

    First scratch, store, database and models (checked), then the worker. Raises StoreError, DatabaseError, NoKeys or
    ModelError.
    """
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch(scratch_dir(settings)).opened())
        components = stack.enter_context(opened(settings, scratch, telemetry, tracing))
        auth = stack.enter_context(_auth(components))
        if references := settings.references:
            components.models.serve(*references)
        catalogue = stack.enter_context(_catalogue(components))
        follower = Follower(components.models, every_seconds=settings.follow_seconds, observer=telemetry)
        pools = stack.enter_context(Pools.opened())
        uploads = _uploads(components, pools)
        stack.enter_context(_at_work(components, follower))
        admission, readers = _admission(components), stack.enter_context(_readers(settings))
        results = Results(components.store, components.jobs)
        yield Resources(
            models=components.models,
            batcher=components.batcher,
            jobs=components.jobs,
            janitor=components.janitor,
            intake=_intake(components, readers, admission, uploads, pools),
            uploads=uploads,
            results=results,
            corrections=components.corrections,
            correction_intake=_correction_intake(components, results, readers, uploads.limits, pools),
            readiness=_readiness(components, follower),
            observer=telemetry,
            worker=components.worker,
            auth=auth,
            catalogue=catalogue,
            regions=Regions(),
            bodies=stack.enter_context(_bodies(settings)),
            admission=admission,
            follower=follower,
            champions=Champions(components.database, told=follower.look),
            webhook=_webhook(settings, follower),
            shadow=components.shadow,
            slow_answers=SlowAnswers(),
            known_stores=KnownStores(),
            reviews=Reviews(components.database, components.jobs, results),
        )


@contextmanager
def worker(settings: Settings) -> Iterator[Callable[[], str | None]]:
    """What a process has that only works on the queue, working; gives what says which of its threads has ended.

    Raises as `server`, PortTaken, TracingError, and StoreError without a queue that can be shared.
    """
    if settings.database_url is None or not Database(settings.database_url).shared:
        raise StoreError("a worker shares a server's queue: give both the same RICEFISH_DATABASE_URL, PostgreSQL's")
    with ExitStack() as stack:
        folder = settings.scratch or stack.enter_context(_worker_scratch(settings.worker_id))
        scratch = stack.enter_context(Scratch(folder).opened())
        telemetry = telemetry_of_process()
        tracing = stack.enter_context(contextlib.closing(Tracing.to(settings.otlp_endpoint, instance=owner(settings))))
        components = stack.enter_context(opened(settings, scratch, telemetry, tracing))
        stack.enter_context(telemetry.answered_on(settings.host, settings.metrics_port))
        if components.worker is None:
            raise StoreError("RICEFISH_CONCURRENT_SCANS is 0; a worker needs at least 1")
        stack.enter_context(running(components, components.worker))
        threads: dict[str, Threads] = {
            "batching": components.batcher,
            "worker": components.worker,
            "shadow": components.shadow,
        }
        yield lambda: next((name for name, part in threads.items() if not part.alive), None)


@contextmanager
def _at_work(components: Components, follower: Follower) -> Iterator[None]:
    with running(components, components.janitor, components.worker, follower), components.shadow.published():
        yield


def _uploads(components: Components, pools: Pools) -> Uploads:
    """Clears what an earlier process left, and has the janitor look after what this one will leave."""
    settings, scratch, janitor = components.settings, components.scratch, components.janitor
    limits = Limits(scratch.root, settings.upload_limit_bytes, settings.voxels_per_byte)
    expiry_seconds = settings.upload_expiry_hours * 3600
    uploads = Uploads(scratch.uploads_dir, limits=limits, expiry_seconds=expiry_seconds, writing=pools.writing)
    uploads.expire(starting=True)
    janitor.also(components.database.keep_reserve, name="reserve")
    janitor.also(uploads.expire, name="uploads")
    components.corrections.give_up(starting=True, alone=components.alone)
    janitor.sweep(starting=True, alone=components.alone)
    janitor.also(lambda: components.models.prune(components.jobs.needed_models()), name="models")
    janitor.also(components.models.confirm, name="references")
    return uploads


def _readers(settings: Settings) -> contextlib.closing[ReaderPool]:
    memory_bytes, stall_seconds = settings.reader_memory_bytes, settings.reader_stall_seconds
    return contextlib.closing(ReaderPool(most=settings.readers, memory_bytes=memory_bytes, stall_seconds=stall_seconds))


def _acceptance(components: Components, limits: Limits, readers: ReaderPool) -> Acceptance:
    acceptance = Acceptance(
        store=components.store,
        models=components.models,
        jobs=components.jobs,
        limits=limits,
        readers=readers,
        owner_voxels=components.settings.owner_voxels,
        slab_slices=components.settings.slab_slices,
        keep_uploads=components.settings.keep_uploads,
        tracing=components.tracing,
        observer=components.telemetry,
    )
    components.janitor.also(acceptance.deferred_writes.retry, name="deferred")
    return acceptance


def _intake(
    components: Components, readers: ReaderPool, admission: Admission, uploads: Uploads, pools: Pools
) -> Intake:
    settings = components.settings
    return Intake(
        _acceptance(components, uploads.limits, readers),
        scratch=components.scratch,
        models=components.models,
        jobs=components.jobs,
        uploads=uploads,
        sources=Sources(settings.source_roots, settings.source_buckets, settings.s3_endpoint),
        admission=admission,
        pools=pools,
        silence_seconds=settings.upload_timeout_seconds,
    )


def _correction_intake(
    components: Components, results: Results, readers: ReaderPool, limits: Limits, pools: Pools
) -> CorrectionIntake:
    return CorrectionIntake(
        components.corrections,
        results,
        readers=readers,
        scratch=components.scratch,
        limits=limits,
        pools=pools,
        silence_seconds=components.settings.upload_timeout_seconds,
    )


def _bodies(settings: Settings) -> contextlib.closing[BodyRoom]:
    return contextlib.closing(BodyRoom(patience_seconds=settings.upload_timeout_seconds))


@contextmanager
def _auth(components: Components) -> Iterator[Auth]:
    settings, keys = components.settings, Keys(components.database)
    owned = partial(are_owned, components.scratch.uploads_dir)
    check_exposure(settings.host, keys, components.store, uploads_owned=owned, anonymous=settings.anonymous)
    sessions = Sessions(components.database)
    components.janitor.also(sessions.sweep, name="sessions")
    auth = Auth(keys, sessions)
    with contextlib.closing(auth.quotas):
        yield auth


@contextmanager
def _catalogue(components: Components) -> Iterator[ModelCatalogue]:
    settings, statistics = components.settings, Statistics()
    repository = Repository(
        settings.model_repository,
        device=settings.device,
        threads=settings.threads,
        statistics=statistics,
        most_waiting=settings.queue_slices,
        most_seconds=settings.plain_model_seconds,
    )
    with contextlib.closing(repository):
        repository.load_all()
        yield ModelCatalogue(components.models, components.batcher, repository, statistics)


def _admission(components: Components) -> Admission:
    settings = components.settings
    most = QueueLimits(settings.queue_scans, settings.queue_bytes, settings.queue_age_seconds)
    return Admission(lambda: load.measure(components.database, but_arriving_at=owner(settings)), most)


def _webhook(settings: Settings, follower: Follower) -> Webhook:
    secret = settings.webhook_secret
    return Webhook(None if secret is None else secret.get_secret_value(), look=follower.look)


def _readiness(components: Components, follower: Follower) -> Readiness:
    models, worker = components.models, components.worker
    threads: dict[str, Threads] = {
        "batching": components.batcher,
        "janitor": components.janitor,
        "follower": follower,
        "shadow": components.shadow,
        **({"worker": worker} if worker else {}),
    }
    return Readiness(
        needed={
            "database": components.database.check,
            "store": components.store.check,
            "scratch": components.scratch.check,
        },
        threads=threads,
        model=lambda: models.current if components.settings.references else None,
        room={
            "database": components.database.check_room,
            "scratch": lambda: Limits(components.scratch.root, None).check_room(0),
        },
    )


@contextmanager
def _worker_scratch(worker_id: str | None) -> Iterator[Path]:
    """Among the temporary files: always the same for a worker with a name, which finds and clears what it left."""
    if worker_id is not None:
        yield Path(tempfile.gettempdir()) / f"ricefish-{worker_id}"
        return
    with tempfile.TemporaryDirectory(prefix="ricefish-") as folder:
        yield Path(folder)
