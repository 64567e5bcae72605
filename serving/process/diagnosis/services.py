"""What a server talks to: the database, the store, the registry; their clocks; and the model, checked as at a start."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from sqlalchemy import delete, insert, select

from scans.addresses import without_passwords
from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.references import is_registered
from serving.models.registry import registry_uri
from serving.models.served import Models
from serving.observability.findings import Level, Observed
from serving.process.diagnosis.read_only_models import borrowed
from serving.process.diagnosis.stand_ins import of_queue, of_store
from serving.settings import Settings
from serving.storage import Scratch, open_store
from serving.storage.database import Database
from serving.storage.locations import scratch_dir
from serving.storage.tables import keys

_SLOW_QUERY_SECONDS, _SLOW_COMMIT_SECONDS, _SLOW_STEP_SECONDS = 0.02, 0.25, 1.0
_SKEW_SECONDS, _GREAT_SKEW_SECONDS = 2.0, 60.0
_QUERIES = 20
_HTTP_SECONDS = 10.0


def database(settings: Settings, url: str) -> Observed:
    """Connects, reads, writes a row and removes it; times both. A file that is not there yet is not made."""
    with of_queue(url) as tried:
        return _database(settings, Database(tried), named=Database(url))


def _database(settings: Settings, opened: Database, *, named: Database) -> Observed:
    opened.open()
    try:
        query = statistics.median(_seconds(opened.check) for _ in range(_QUERIES))
        commit = statistics.median(_seconds(lambda: _write(opened)) for _ in range(3)) / 2
    finally:
        opened.close()
    made = "" if opened.name == named.name else ", which a server makes"
    found = f"{named.name}{made}: query {query * 1e3:.1f} ms, commit {commit * 1e3:.1f} ms"
    if not opened.shared and settings.concurrent_scans == 0:
        return Observed(
            f"{found}; RICEFISH_CONCURRENT_SCANS is 0, and no worker can share SQLite",
            Level.FAIL,
            "Set RICEFISH_DATABASE_URL to a PostgreSQL that workers share, or RICEFISH_CONCURRENT_SCANS to 1 or more.",
        )
    if query > _SLOW_QUERY_SECONDS or commit > _SLOW_COMMIT_SECONDS:
        return Observed(found, Level.WARN, "Slow: every slab is a commit. Look at the database's disk and the network.")
    return Observed(found)


def store(settings: Settings) -> Observed:
    """Opens the store without claiming it, and does with a small file what is done with scans.

    A store that is not there yet is not made.
    """
    with (
        of_store(settings) as tried,
        tempfile.TemporaryDirectory(prefix="ricefish-doctor-") as folder,
        Scratch(Path(folder)).opened() as scratch,
    ):
        opened = open_store(tried, scratch)
        with opened.open(alone=False):
            steps = opened.rehearse()
    made = "" if tried is settings else ", which a server makes"
    found = f"{settings.store}{made}: {', '.join(f'{step} {seconds * 1e3:.1f} ms' for step, seconds in steps.items())}"
    if max(steps.values()) > _SLOW_STEP_SECONDS:
        return Observed(
            found, Level.WARN, "Slow: every slab waits for this. Look at the disk, or at the network to it."
        )
    return Observed(found)


def clock(url: str) -> Observed:
    """Compares this machine's clock with the database's."""
    with of_queue(url) as tried, contextlib.closing(Database(tried)) as opened, opened.reading() as connection:
        before = time.time()
        theirs = connection.scalar(select(opened.now))
        skew = float(theirs or 0.0) - (before + time.time()) / 2
    return _skew(skew, of="the database's", sure_seconds=0.0)


def registry(settings: Settings) -> Observed:
    """Whether the registry that the model comes from answers, and what time it has."""
    if not any(is_registered(reference) for reference in (settings.model, *settings.more_models)):
        return Observed("not used: no model comes from it")
    uri = registry_uri()
    shown = without_passwords(uri)
    if not uri.startswith(("http://", "https://")):
        return Observed(f"{shown}, in this machine's files")
    before = time.time()
    try:
        answer = httpx.get(f"{uri.rstrip('/')}/health", timeout=_HTTP_SECONDS)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        return _without_registry(settings, f"{shown} does not answer: {error}")
    seconds = time.time() - before
    found = f"{shown} answers in {seconds * 1e3:.0f} ms"
    if (date := answer.headers.get("date")) is None:
        return Observed(found)
    clocks = _skew(parsedate_to_datetime(date).timestamp() - before, of="the registry's", sure_seconds=1.0 + seconds)
    return Observed(f"{found}; {clocks.found}", clocks.level, clocks.advice)


def model(settings: Settings) -> Observed:
    """Fetches the model, compares its hash, and has it segment its golden slice on the device, in the precision and by
    the library that a server here has found to be the fastest, if one was started."""
    if not settings.model and settings.model_repository is not None:
        return Observed(f"none but the plain models in {settings.model_repository}")
    if not settings.model:
        return Observed(
            "RICEFISH_MODEL is not set",
            Level.FAIL,
            "A server does not start without (--model names one too); of a machine for workers ask with --worker.",
        )
    with tempfile.TemporaryDirectory(prefix="ricefish-doctor-") as folder, borrowed(settings) as store:
        overrides = TuningOverrides(threads=settings.threads, batch_size=settings.batch_size)
        models = Models(
            Path(folder) / "models",
            device=settings.device,
            tuner=Tuner(scratch_dir(settings), overrides=overrides, measures=False),
            precision=settings.precision,
            engine=settings.engine,
            remote=store.into(Path(folder) / "models"),
        )
        models.serve(settings.model, *settings.more_models)
        found = "; ".join(
            f"{place.model.identity}: hash and golden slice agree, on {place.model.runtime.provider} in "
            f"{place.model.tuning.account}{', from the cache' if place.trouble else ''}"
            for place in models.places
        )
        troubles = [str(place.trouble) for place in models.places if place.trouble is not None]
    if troubles:
        return Observed(
            f"{found}; {'; '.join(troubles)}",
            Level.WARN,
            "A server starts with the copy of the version that served last; see docs/on-call.md, RicefishRegistryDown.",
        )
    return Observed(found)


def _without_registry(settings: Settings, found: str) -> Observed:
    """Whether a server can do without it."""
    with borrowed(settings) as store:
        notes = {one: store.note(one) for one in (settings.model, *settings.more_models) if is_registered(one)}
    unknown = [reference for reference, note in notes.items() if note is None]
    if unknown:
        return Observed(
            f"{found}; of {', '.join(unknown)} there is no copy in the store",
            Level.FAIL,
            "Check MLFLOW_TRACKING_URI, and that the MLflow server runs; RICEFISH_MODEL may also be a folder.",
        )
    versions = ", ".join(str(note.versions[0].identity) for note in notes.values() if note is not None)
    advice = "Start the registry: until then servers serve this, and see no new versions."
    return Observed(f"{found}; in the store there is {versions}", Level.WARN, advice)


def _skew(seconds: float, *, of: str, sure_seconds: float) -> Observed:
    found = f"{of} clock is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
    off = abs(seconds) - sure_seconds
    if off < _SKEW_SECONDS:
        return Observed(found)
    level = Level.FAIL if off > _GREAT_SKEW_SECONDS else Level.WARN
    return Observed(
        found, level, "Set the clocks by NTP (timedatectl): ages and expiry are wrong, signatures are refused."
    )


def _write(opened: Database) -> None:
    """Two commits."""
    key = f"doctor {uuid.uuid4().hex}"
    with opened.writing() as connection:
        connection.execute(insert(keys).values(key=key, scan_id=""))
    with opened.writing() as connection:
        connection.execute(delete(keys).where(keys.c.key == key))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
