"""Comparisons that wait, in SQLite and in PostgreSQL: which are wanted, who takes them up, and who no longer may."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, select, update

from scans.model.shadow_agreement import TAG, ShadowAgreement
from serving.models.served import ModelIdentity
from serving.queue.jobs import Jobs, Priority
from serving.queue.leases import Leases
from serving.queue.scan import Scan
from serving.shadow.agreement import OrganAgreement
from serving.shadow.comparison_queue import MOST_STARTS, ShadowLease, ShadowQueue, sweep
from serving.shadow.publisher import Publisher
from serving.shadow.report import ShadowReport
from serving.storage.database import Database
from serving.storage.fenced_table import LeaseLost
from serving.storage.tables import shadows
from tests.serving.queues import new_scan

SHADOW = ModelIdentity(name="fish", version="2", sha256="12" * 32, key="34" * 32)
CHAMPION = ModelIdentity(name="fish", version="1", sha256="cd" * 32, key="ef" * 32)


def queue_of(database: Database, owner: str, *, seconds: float = 60.0, share: float = 1.0) -> ShadowQueue:
    return ShadowQueue(database, owner=owner, seconds=seconds, share=share)


def succeeded(database: Database, queue: ShadowQueue, **changes: object) -> Scan:
    """A scan that has gone all the way through the queue."""
    scan = new_scan(model=CHAMPION, **changes)
    jobs = Jobs(database, owner="server")
    assert jobs.reserve(scan, priority=Priority.NORMAL, checksums={})
    jobs.enqueue(scan.id)
    worker = Leases(database, owner="w", seconds=60.0, on_success=queue.want)
    lease = worker.take(Priority.NORMAL)
    assert lease is not None and lease.scan == scan
    worker.succeed(lease)
    return scan


def removed(database: Database, scan: Scan) -> None:
    jobs = Jobs(database, owner="server")
    jobs.remove(scan.id)
    jobs.forget([scan.id])


def taken(queue: ShadowQueue) -> ShadowLease:
    lease = queue.take()
    assert lease is not None
    return lease


def agreement(**voxels: tuple[int, int, int]) -> OrganAgreement:
    """Voxels of each organ: of both, of the shadow alone, of the champion alone."""
    return OrganAgreement.from_dict({name: list(counts) for name, counts in voxels.items()})


def test_a_scan_that_succeeds_is_wanted_if_its_id_says_so(database: Database) -> None:
    """With share 1 each is, with share 0 none; then it is taken once, and as it was put in."""
    none, each = queue_of(database, "a", share=0.0), queue_of(database, "a")
    succeeded(database, none)
    assert not each.ready() and each.take() is None
    scan = succeeded(database, each)
    assert each.ready()
    lease = taken(each)
    assert (lease.scan, lease.slabs_done, lease.agreement) == (scan, 0, None)
    assert not each.ready() and each.take() is None


def test_nothing_is_begun_while_a_scan_waits(database: Database) -> None:
    """Wherever it waits, and also if its worker has died; a scan that somebody works on elsewhere is no reason."""
    queue = queue_of(database, "a")
    succeeded(database, queue)
    jobs, scan = Jobs(database, owner="server"), new_scan()
    assert jobs.reserve(scan, priority=Priority.BACKLOG, checksums={})
    assert queue.ready()
    jobs.enqueue(scan.id)
    assert not queue.ready()
    remote = Leases(database, owner="elsewhere", seconds=60.0)
    lease = remote.take(Priority.BACKLOG)
    assert lease is not None and queue.ready()
    remote.take_back(alone=False)
    assert not queue.ready()


def test_what_fails_beside_a_success_does_not_undo_it(database: Database) -> None:
    """The scan succeeds although the wish for a comparison cannot be written."""

    def fail(connection: Connection, scan: Scan) -> None:
        connection.exec_driver_sql("INSERT INTO no_such_table VALUES (1)")

    queue = queue_of(database, "a")
    queue.want = fail  # type: ignore[method-assign]
    scan = succeeded(database, queue)
    assert Jobs(database, owner="server").get(scan.id)[1].state == "succeeded"
    assert queue.take() is None


def test_each_comparison_is_taken_once(database: Database) -> None:
    """Many that ask at once get each exactly once."""
    queue = queue_of(database, "a")
    expected = [succeeded(database, queue).id for _ in range(8)]
    with ThreadPoolExecutor(6) as threads:
        leases = list(threads.map(lambda n: queue_of(database, f"w{n}").take(), range(16)))
    assert sorted(lease.scan.id for lease in leases if lease) == sorted(expected)


def test_a_killed_process_loses_its_comparison_to_the_next(database: Database) -> None:
    """Which goes on where it was; what the first one writes afterwards changes nothing."""
    dead, heir = queue_of(database, "dead", seconds=1.0), queue_of(database, "heir")
    succeeded(database, dead)
    first = taken(dead)
    half = agreement(heart=(10, 2, 3), eye=(0, 0, 0))
    dead.commit(first, shadow=SHADOW, slabs_done=2, agreement=half)
    assert heir.take() is None
    time.sleep(1.1)
    second = taken(heir)
    assert (second.epoch, second.slabs_done, second.shadow_key) == (first.epoch + 1, 2, SHADOW.key)
    assert second.agreement is not None and second.agreement.to_dict() == half.to_dict()
    for late in (
        lambda: dead.renew(first),
        lambda: dead.commit(first, shadow=SHADOW, slabs_done=3, agreement=half),
        lambda: dead.finish(first, shadow=SHADOW, agreement=half),
        lambda: dead.give_up(first, "late"),
        lambda: dead.park(first),
    ):
        with pytest.raises(LeaseLost):
            late()
    heir.finish(second, shadow=SHADOW, agreement=half)
    assert heir.take() is None


def test_a_restarted_process_takes_back_its_own_at_once(database: Database) -> None:
    """Not that of another, unless it is alone."""
    queue = queue_of(database, "me")
    succeeded(database, queue)
    taken(queue)
    queue_of(database, "somebody").take_back(alone=False)
    assert queue.take() is None
    queue_of(database, "me").take_back(alone=False)
    taken(queue)
    queue_of(database, "somebody").take_back(alone=True)
    taken(queue)


def test_one_that_takes_its_process_down_is_given_up(database: Database) -> None:
    """After three starts without one more slab; a slab that was counted makes it three again."""
    queue = queue_of(database, "a")
    succeeded(database, queue)
    lease = taken(queue)
    queue.commit(lease, shadow=SHADOW, slabs_done=1, agreement=agreement(heart=(1, 0, 0)))
    for _ in range(MOST_STARTS):
        queue.take_back(alone=True)
        taken(queue)
    queue.take_back(alone=True)
    assert queue.take() is None
    assert ShadowReport(database).standing().given_up == 1
    with database.reading() as connection:
        error = connection.scalar(select(shadows.c.error))
    assert error == "the process ended 3 times while it was at slab 1; its log says why"


def test_an_error_that_may_pass_is_tried_three_times(database: Database) -> None:
    """Later each time; given back for want of time is not a try."""
    queue = queue_of(database, "a")
    succeeded(database, queue)
    waits = []
    for _ in range(3):
        queue.park(taken(queue))
    for _ in range(MOST_STARTS):
        waits.append(queue.postpone(taken(queue), "OSError: disk"))
        assert queue.take() is None
        with database.writing() as connection:
            connection.execute(update(shadows).values(not_before=0.0))
    assert waits == [60.0, 120.0, None]
    assert ShadowReport(database).standing().given_up == 1


def test_agreement_is_summed_up_per_organ(database: Database) -> None:
    """Heart: Dice 0.8 and 0.4, mean 0.6, worst the second. Eye: found in one of two, by the shadow alone: 0."""
    queue, report = queue_of(database, "a"), ShadowReport(database)
    one, two = succeeded(database, queue), succeeded(database, queue)
    counted = [agreement(heart=(8, 2, 2), eye=(0, 0, 0)), agreement(heart=(4, 12, 0), eye=(0, 5, 0))]
    for one_scan in counted:
        queue.finish(taken(queue), shadow=SHADOW, agreement=one_scan)
    (pair,) = report.pairs()
    assert (pair.champion.version, pair.shadow.version, pair.scans) == ("1", "2", 2)
    heart, eye = pair.organs
    assert heart.dice == pytest.approx(0.6) and (heart.scans, heart.left_out) == (2, 0)
    assert heart.worst is not None and (heart.worst.dice, heart.worst.scan_id) == (pytest.approx(0.4), two.id)
    assert (eye.dice, eye.scans, eye.left_out) == (0.0, 1, 1)
    assert pair.agreement == ShadowAgreement("fish", "1", 2, {"heart": pytest.approx(0.6), "eye": 0.0})
    removed(database, two)
    sweep(database)
    (pair,) = report.pairs()
    assert pair.scans == 2 and pair.organs[0].worst is not None
    assert pair.organs[0].worst.scan_id is None, "the numbers stay, without the scan"
    assert one.id != two.id


def test_a_scan_that_is_removed_meanwhile_is_not_recorded(database: Database) -> None:
    """Its files went while they were read: what was counted then means nothing. One that waits is forgotten."""
    queue = queue_of(database, "a")
    scan, waiting = succeeded(database, queue), succeeded(database, queue)
    lease = taken(queue)
    removed(database, scan)
    with pytest.raises(LeaseLost):
        queue.finish(lease, shadow=SHADOW, agreement=agreement(heart=(1, 0, 0)))
    removed(database, waiting)
    assert queue.take() is None
    sweep(database)
    with database.reading() as connection:
        assert connection.execute(select(shadows.c.id)).all() == []


def test_a_shadow_that_is_the_champion_is_said_to_be(database: Database) -> None:
    """It counts as no comparison, and is forgotten when something else has been compared since."""
    queue, report = queue_of(database, "a"), ShadowReport(database)
    succeeded(database, queue)
    queue.finish_as_same(taken(queue), shadow=CHAMPION)
    same = report.standing().same
    assert same is not None and (same.name, same.version) == ("fish", "1")
    assert report.pairs() == [] and report.latest_seconds() is None
    succeeded(database, queue)
    queue.finish(taken(queue), shadow=SHADOW, agreement=agreement(heart=(1, 0, 0)))
    assert report.standing().same is None and len(report.pairs()) == 1


def test_a_registry_that_was_down_has_missed_nothing(database: Database) -> None:
    """Written once for what is new; after an outage with all that came since; another champion's later pair counts."""
    queue = queue_of(database, "a")
    written: list[tuple[str, ...]] = []
    down = [True]

    def write(*tag: str) -> None:
        if down[0]:
            raise OSError("the registry is down")
        written.append(tag)

    for _ in range(2):
        succeeded(database, queue)
        queue.finish(taken(queue), shadow=SHADOW, agreement=agreement(heart=(8, 2, 2)))
    publisher = Publisher(ShadowReport(database), write=write, period_seconds=0.02, looking_seconds=0.02)
    publisher.start()
    time.sleep(0.2)
    down[0] = False
    deadline = time.monotonic() + 20
    while not written and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    publisher.stop()
    assert written == [("fish", "2", TAG, ShadowAgreement("fish", "1", 2, {"heart": 0.8}).to_tag())]
