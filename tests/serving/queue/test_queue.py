"""The queue, in SQLite and in PostgreSQL: who gets which scan, who keeps it, and who can no longer touch it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from scans.geometry import Frame, Spacing, StatedUnits
from serving.auth.identity import Identity
from serving.queue.jobs import Jobs, Priority, ScanNotFound, WrongState
from serving.queue.leases import MOST_STARTS, Lease, Leases
from serving.queue.scan import Upload
from serving.storage.database import Database, DatabaseError
from serving.storage.fenced_table import LeaseLost
from tests.serving.queues import JUDGEMENT, STATISTICS, WARNING, commit, leases, new_scan, queued


def test_what_was_put_in_comes_out(database: Database, jobs: Jobs) -> None:
    """The lease holds the very scan, and its job says how far it is until it ends."""
    frame = Frame.from_lps(Spacing(1, 1, 1), units=StatedUnits(("um", "um", "mm"), "nrrd, metaimage"))
    scan = queued(jobs, upload=Upload("fish.nii", "ab" * 32, 10, Spacing(0.1, 0.2, 0.3)), frame=frame)
    assert jobs.get(scan.id) == (scan, jobs.get(scan.id)[1])
    assert jobs.get(scan.id)[0].frame.units == frame.units
    assert jobs.get(scan.id)[1].state == "queued"
    worker = leases(database, "a")
    lease = worker.take(Priority.NORMAL)
    assert lease is not None and lease.scan == scan and (lease.epoch, lease.slabs_done) == (1, 0)
    commit(worker, lease, slabs_done=2)
    job = jobs.get(scan.id)[1]
    assert (job.state, job.slabs_done, job.worker, job.timings) == ("running", 2, "a", {"read": 1.5})
    assert job.statistics is None is job.judgement, "half a scan has no statistics"
    worker.succeed(lease)
    job = jobs.get(scan.id)[1]
    assert (job.state, job.statistics, job.judgement) == ("succeeded", STATISTICS, JUDGEMENT)
    assert job.warnings == (WARNING,)
    assert worker.take(Priority.NORMAL) is None


def test_a_scan_is_taken_once(database: Database, jobs: Jobs) -> None:
    """Many that ask at once get each scan exactly once, the oldest first."""
    expected = [queued(jobs, created_seconds=float(n)).id for n in range(12)]
    with ThreadPoolExecutor(6) as threads:
        taken = list(threads.map(lambda n: leases(database, f"w{n}").take(Priority.NORMAL), range(20)))
    ids = [lease.scan.id for lease in taken if lease]
    assert sorted(ids) == sorted(expected)


def test_each_priority_has_its_own_line(database: Database, jobs: Jobs) -> None:
    """A later interactive scan does not wait behind earlier ones."""
    queued(jobs, priority=Priority.BACKLOG)
    urgent = queued(jobs, priority=Priority.INTERACTIVE)
    worker = leases(database, "a")
    lease = worker.take(Priority.INTERACTIVE)
    assert lease is not None and lease.scan == urgent
    assert worker.take(Priority.NORMAL) is None
    assert worker.take(Priority.BACKLOG) is not None


def test_a_dead_workers_scan_goes_on_where_it_stopped(database: Database, jobs: Jobs) -> None:
    """After its lease another takes it at the next slab; what the first one then writes is refused."""
    scan = queued(jobs)
    frozen, living = leases(database, "frozen", seconds=-1.0), leases(database, "living")
    lease = frozen.take(Priority.NORMAL)
    assert lease is not None
    commit(frozen, lease, slabs_done=1)
    taken = living.take(Priority.NORMAL)
    assert taken is not None and (taken.slabs_done, taken.epoch, taken.batch_size) == (1, 2, 4)
    before = jobs.get(scan.id)
    for write in (
        lambda: commit(frozen, lease, slabs_done=2),
        lambda: frozen.succeed(lease),
        lambda: frozen.fail(lease, "no"),
        lambda: frozen.park(lease),
        lambda: frozen.postpone(lease, "no", attempts=5),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert frozen.renew([lease]) == frozen.still([lease]) == set()
    assert jobs.get(scan.id) == before
    assert living.renew([taken]) == living.still([taken]) == {scan.id}
    commit(living, taken, slabs_done=3)
    living.succeed(taken)


def test_a_renewed_lease_is_kept(database: Database, jobs: Jobs) -> None:
    """Nobody else gets a scan whose lease has not run out."""
    queued(jobs)
    worker = leases(database, "a")
    lease = worker.take(Priority.NORMAL)
    assert lease is not None and worker.renew([lease]) == {lease.scan.id}
    assert leases(database, "b").take(Priority.NORMAL) is None


def test_a_restarted_process_takes_back_its_own_at_once(database: Database, jobs: Jobs) -> None:
    """Only the scans that were its own are free before their leases run out."""
    mine, others = queued(jobs), queued(jobs)
    first = leases(database, "a").take(Priority.NORMAL)
    second = leases(database, "b").take(Priority.NORMAL)
    assert first is not None and second is not None and {first.scan.id, second.scan.id} == {mine.id, others.id}
    again = leases(database, "a")
    assert again.take_back(alone=False) == 1
    lease = again.take(Priority.NORMAL)
    assert lease is not None and lease.scan == first.scan
    assert again.take(Priority.NORMAL) is None


def test_what_may_pass_is_tried_again_later(database: Database, jobs: Jobs) -> None:
    """Twice as long a wait each time; a finished slab begins the count anew; at last it has failed."""
    scan = queued(jobs)
    worker = leases(database, "a")
    waits = []
    for _ in range(3):
        lease = _forced(database, worker)
        waits.append(worker.postpone(lease, "the disk is away", attempts=4))
        assert worker.take(Priority.NORMAL) is None, "it waits"
        assert jobs.get(scan.id)[1].error == "the disk is away"
    assert waits == [1, 2, 4]
    lease = _forced(database, worker)
    commit(worker, lease, slabs_done=1)
    assert worker.postpone(lease, "the disk is away", attempts=4) == 1
    for _ in range(2):
        assert worker.postpone(_forced(database, worker), "the disk is away", attempts=4)
    assert worker.postpone(_forced(database, worker), "the disk is away", attempts=4) is None
    job = jobs.get(scan.id)[1]
    assert (job.state, job.error) == ("failed", "the disk is away (tried 4 times)")


def test_a_scan_that_takes_its_process_down_fails_in_the_end(database: Database, jobs: Jobs) -> None:
    """It is begun so and so often at the same slab, and not for ever."""
    scan = queued(jobs)
    worker = leases(database, "a", seconds=-1.0)
    for _ in range(MOST_STARTS):
        assert worker.take(Priority.NORMAL) is not None
    assert worker.take(Priority.NORMAL) is None
    job = jobs.get(scan.id)[1]
    assert job.state == "failed" and "slab 0" in str(job.error)


def test_cancelled_scans_can_be_tried_again(database: Database, jobs: Jobs) -> None:
    """Cancelling fences the worker off; a retry goes on at the slab where it stopped; each where it can."""
    scan = queued(jobs)
    worker = leases(database, "a")
    lease = worker.take(Priority.NORMAL)
    assert lease is not None
    commit(worker, lease, slabs_done=1)
    jobs.cancel(scan.id)
    assert worker.still([lease]) == set()
    with pytest.raises(LeaseLost):
        worker.succeed(lease)
    with pytest.raises(WrongState, match="is cancelled"):
        jobs.cancel(scan.id)
    jobs.retry(scan.id)
    with pytest.raises(WrongState, match="is queued"):
        jobs.retry(scan.id)
    again = worker.take(Priority.NORMAL)
    assert again is not None and again.slabs_done == 1


def test_a_removed_scan_is_gone_for_everyone(database: Database, jobs: Jobs) -> None:
    """It cannot be found, and its row stays until its files are gone."""
    scan = queued(jobs)
    lease = leases(database, "a").take(Priority.NORMAL)
    assert lease is not None
    jobs.remove(scan.id)
    for ask in (jobs.get, jobs.cancel, jobs.retry, jobs.remove):
        with pytest.raises(ScanNotFound):
            ask(scan.id)
    assert jobs.page(limit=10) == []
    assert leases(database, "a").still([lease]) == set()
    assert jobs.leftovers() == [scan.id]
    jobs.forget([scan.id])
    assert jobs.leftovers() == []


def test_an_acceptance_that_was_cut_off_leaves_nothing(database: Database, jobs: Jobs) -> None:
    """A restarted server finds its own; that of another is left alone while it may still be under way."""
    cut_off, remote = new_scan(), new_scan()
    jobs.reserve(cut_off, priority=Priority.NORMAL, checksums={})
    Jobs(database, owner="other server").reserve(remote, priority=Priority.NORMAL, checksums={})
    assert jobs.page(limit=10) == []
    assert jobs.leftovers() == []
    assert jobs.leftovers(starting=True) == [cut_off.id]
    with pytest.raises(ScanNotFound):
        jobs.enqueue(cut_off.id)
    jobs.enqueue(remote.id)


def test_the_same_file_is_found_again(jobs: Jobs) -> None:
    """Same bytes, read with the same spacing, for the same model; not one that failed or was cancelled."""
    scan = queued(jobs)
    wanted = {"sha256": scan.upload.sha256, "spacing": None, "model_key": scan.model.key}
    assert jobs.find(**wanted) == scan
    for other in ({"sha256": "0" * 64}, {"model_key": "0" * 64}, {"spacing": Spacing(1, 1, 1)}):
        assert jobs.find(**{**wanted, **other}) is None
    jobs.cancel(scan.id)
    assert jobs.find(**wanted) is None


def test_a_scan_is_listed_by_its_key(jobs: Jobs) -> None:
    """Whatever has become of it; not while it still arrives, and by no key of another owner."""
    scan, ada = new_scan(), jobs.seen_by(Identity("ada", frozenset({"segment"})))
    assert ada.reserve(scan, priority=Priority.NORMAL, checksums={}, key="k")
    assert ada.page(limit=9, key="k") == []
    ada.enqueue(scan.id)
    queued(jobs)
    for move in (lambda _: None, ada.cancel, ada.retry):
        move(scan.id)
        assert [found.id for found, _ in ada.page(limit=9, key="k")] == [scan.id]
    assert ada.page(limit=9, key="other") == []
    assert jobs.seen_by(Identity("eve", frozenset({"admin"}))).page(limit=9, key="k") == []


def test_scans_are_listed_page_by_page(jobs: Jobs) -> None:
    """The newest first, and each once."""
    ids = [queued(jobs, created_seconds=1000.0 + n).id for n in range(5)]
    first = jobs.page(limit=3)
    second = jobs.page(limit=3, before=first[-1][0].created_seconds)
    assert [scan.id for scan, _ in first + second] == ids[::-1]
    jobs.cancel(ids[2])
    assert [scan.id for scan, _ in jobs.page(limit=9, states=("cancelled",))] == [ids[2]]
    assert jobs.older_than(-1000) == [ids[2]]
    assert jobs.older_than(1000) == []


@pytest.mark.parametrize("url", ["mysql://host/name", "nonsense", "postgresql://me:secret@127.0.0.1:1/nowhere"])
def test_a_database_that_cannot_be_used_is_named(url: str) -> None:
    """Without its password."""
    with pytest.raises(DatabaseError) as caught:
        Database(url).open()
    assert "secret" not in str(caught.value)


def _forced(database: Database, worker: Leases) -> Lease:
    from sqlalchemy import update

    from serving.storage.tables import scans

    with database.writing() as connection:
        connection.execute(update(scans).values(not_before=0.0))
    lease = worker.take(Priority.NORMAL)
    assert lease is not None
    return lease
