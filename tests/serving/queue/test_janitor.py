"""The janitor goes on, whatever becomes of one of its tasks, and readiness knows where it does not."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from serving.observability.readiness import Readiness
from serving.queue.janitor import Janitor
from serving.queue.jobs import Jobs, ScanNotFound
from serving.storage import FolderStore
from serving.storage.database import Database
from tests.serving.queues import queued

WAIT_SECONDS = 60
"""Nothing here takes so long."""


class FaultyStore(FolderStore):
    """A folder of which some scans cannot be removed, and which cannot always be swept."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.stuck: Collection[str] = ()
        self.sweeps = True

    def sweep(self) -> None:
        if not self.sweeps:
            raise ConnectionError("the bucket does not answer")
        super().sweep()

    def remove(self, scan_id: str) -> None:
        if scan_id in self.stuck:
            raise RuntimeError("an error of some library")
        super().remove(scan_id)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    database.open()
    yield Jobs(database, owner="server")
    database.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaultyStore]:
    store = FaultyStore(tmp_path / "store")
    with store.open(alone=True):
        yield store


def test_a_delete_that_comes_first_does_not_end_the_rounds(
    store: FaultyStore, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deletes an old scan between the janitor's look and its removal: the next round comes all the same."""
    ended = [queued(jobs).id for _ in range(2)]
    for scan_id in ended:
        jobs.cancel(scan_id)
    look = jobs.older_than

    def raced(seconds: float) -> list[str]:
        found = look(seconds)
        for scan_id in found[:1]:
            jobs.remove(scan_id)
            jobs.forget([scan_id])
        return found

    monkeypatch.setattr(jobs, "older_than", raced)
    janitor = Janitor(store=store, jobs=jobs, retention_days=1e-12, round_seconds=0.01)
    rounds = threading.Semaphore(0)
    janitor.also(rounds.release)
    janitor.start()
    try:
        assert all(rounds.acquire(timeout=WAIT_SECONDS) for _ in range(3))
        assert janitor.alive
    finally:
        janitor.stop()
    for scan_id in ended:
        with pytest.raises(ScanNotFound):
            jobs.scan(scan_id)


def test_one_failing_task_starves_no_other(store: FaultyStore, jobs: Jobs) -> None:
    """The store cannot be swept, two scans cannot be removed, a task raises: the rest of the round is done."""
    removed, old = [queued(jobs).id for _ in range(3)], [queued(jobs).id for _ in range(3)]
    for scan_id in removed:
        jobs.remove(scan_id)
    for scan_id in old:
        jobs.cancel(scan_id)
    janitor = Janitor(store=store, jobs=jobs, retention_days=1e-12)
    done: list[str] = []

    def fails() -> None:
        raise KeyError("a bug")

    janitor.also(fails, name="fails")
    janitor.also(lambda: done.append("after"))
    store.stuck, store.sweeps = (removed[0], old[0]), False
    janitor.sweep()
    assert done == ["after"]
    assert set(jobs.leftovers()) == {removed[0], old[0]}, "which the next round tries again"
    store.stuck, store.sweeps = (), True
    janitor.sweep()
    assert jobs.leftovers() == []


def test_a_start_does_not_fail_for_one_scan(store: FaultyStore, jobs: Jobs) -> None:
    """What an earlier process left and cannot be removed is left to the rounds."""
    left = [queued(jobs).id for _ in range(2)]
    for scan_id in left:
        jobs.remove(scan_id)
    store.stuck = left[:1]
    Janitor(store=store, jobs=jobs, retention_days=None).sweep(starting=True, alone=True)
    assert jobs.leftovers() == left[:1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_readiness_sees_that_the_janitor_is_gone(store: FaultyStore, jobs: Jobs) -> None:
    """Should its thread end after all, the server is neither live nor ready."""
    janitor = Janitor(store=store, jobs=jobs, retention_days=None, round_seconds=0.01)
    readiness = Readiness(needed={}, threads={"janitor": janitor}, model=lambda: None)
    died = threading.Event()

    def die() -> None:
        died.set()
        raise SystemExit

    go_on = threading.Event()
    janitor.also(lambda: go_on.is_set() and die())
    janitor.start()
    assert [check.ok for check in readiness.alive()] == [True]
    go_on.set()
    assert died.wait(WAIT_SECONDS)
    for thread in [one for one in threading.enumerate() if one.name == "janitor"]:
        thread.join(WAIT_SECONDS)
    assert [check.ok for check in readiness.alive()] == [False]
