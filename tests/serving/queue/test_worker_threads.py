"""The threads of a worker outlive every error: what fails is that scan, or that try."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.queue.jobs import Jobs
from serving.queue.leases import Leases
from serving.queue.worker import Run, Worker
from serving.storage.database import Database
from tests.serving.queues import leases, queued

WAIT_SECONDS = 60
"""Nothing here takes so long."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    database.open()
    yield database
    database.close()


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(jobs: Jobs, scan_id: str) -> bool:
    return jobs.get(scan_id)[1].state == "succeeded"


def worker_of(by: Leases) -> Worker:
    return Worker(by, segment=lambda run: None, concurrent_scans=1, attempts=2)


def failing_once(monkeypatch: pytest.MonkeyPatch, thing: object, name: str, error: Exception) -> None:
    """The first call of a method raises."""
    whole, failed = getattr(thing, name), threading.Event()

    def once(*args: object, **named: object) -> object:
        if not failed.is_set():
            failed.set()
            raise error
        return whole(*args, **named)

    monkeypatch.setattr(thing, name, once)


@pytest.mark.slow
def test_an_error_of_any_kind_while_taking_passes(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that cannot be read, say: the next try takes what there is."""
    by = leases(database, "worker")
    failing_once(monkeypatch, by, "take", KeyError("content"))
    scan = queued(jobs)
    worker = worker_of(by)
    worker.start()
    try:
        until(lambda: ended(jobs, scan.id))
        assert worker.alive
    finally:
        worker.stop()


@pytest.mark.slow
def test_an_error_of_any_kind_while_renewing_passes(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper of the leases goes on, and a scan of several lease times ends here."""
    by = leases(database, "worker", seconds=1.0)
    failing_once(monkeypatch, by, "renew", RuntimeError("a bug"))
    scan = queued(jobs)

    def segment(run: Run) -> None:
        time.sleep(2.5)

    worker = Worker(by, segment=segment, concurrent_scans=1, attempts=2)
    worker.start()
    try:
        until(lambda: ended(jobs, scan.id))
        assert worker.alive
    finally:
        worker.stop()


@pytest.mark.slow
def test_a_scan_for_which_there_is_no_thread_goes_back(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has no thread left at that moment: the scan is taken again, and no place is lost."""
    by = leases(database, "worker")
    worker = worker_of(by)
    worker.start()
    start, refused = threading.Thread.start, threading.Event()

    def no_thread(thread: threading.Thread) -> None:
        if thread.name.startswith("scan-") and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    scan = queued(jobs)
    worker.look()
    try:
        until(lambda: ended(jobs, scan.id))
        assert refused.is_set() and worker.alive
        until(lambda: not worker.busy)
    finally:
        worker.stop()


def test_a_scan_that_ends_in_a_bug_keeps_no_place(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing its end down raises what nobody foresaw: with one place, the next scan has it."""
    by = leases(database, "worker")
    failing_once(monkeypatch, by, "succeed", ValueError("a bug"))
    first, second = queued(jobs, created_seconds=1.0), queued(jobs, created_seconds=2.0)
    worker = worker_of(by)
    worker.start()
    try:
        until(lambda: ended(jobs, second.id))
        assert jobs.get(first.id)[1].state == "running", "until its lease has run out"
    finally:
        worker.stop()
