"""How much waits, how fast it goes, and when to come back: by hand, in SQLite and in PostgreSQL."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from contextlib import suppress

import numpy as np
import pytest
from sqlalchemy import update

from scans.measures.statistics import OrganStatistics
from scans.model.judgement import Judgement
from serving.inference.backpressure import QueueFull, SliceRoom, SlicesFull
from serving.intake.admission import Admission, QueueLimits
from serving.queue.jobs import Jobs, Priority
from serving.queue.leases import FinishedSlabs, Leases
from serving.queue.load import Load, Waiting, measure
from serving.storage.database import Database
from serving.storage.tables import scans
from tests.serving.queues import new_scan

UNLIMITED = QueueLimits(scans=10**6, bytes=10**15, age_seconds=1e9)


def queue(jobs: Jobs, *, priority: Priority = Priority.NORMAL) -> str:
    """A scan of 10 x 4 x 4 voxels in 10 bytes; gives its id."""
    scan = dataclasses.replace(new_scan(), slab_slices=2)
    assert jobs.reserve(scan, priority=priority, checksums={})
    jobs.enqueue(scan.id)
    return scan.id


def test_what_waits_is_counted_by_priority_in_scans_bytes_and_voxels(database: Database) -> None:
    """An ended scan does not wait; one that arrives elsewhere does, and one that arrives here is known here."""
    jobs = Jobs(database, owner="here")
    for priority in (Priority.NORMAL, Priority.NORMAL, Priority.BACKLOG):
        queue(jobs, priority=priority)
    jobs.cancel(queue(jobs))
    arriving = new_scan()
    jobs.reserve(arriving, priority=Priority.INTERACTIVE, checksums={})
    load = measure(database, but_arriving_at="here")
    assert load.of(Priority.INTERACTIVE) == Waiting()
    normal = load.of(Priority.NORMAL)
    assert (normal.scans, normal.bytes, normal.voxels) == (2, 20, 320.0)
    assert (load.before(Priority.BACKLOG).scans, load.before(Priority.NORMAL).scans) == (3, 2)
    assert measure(database, but_arriving_at="there").of(Priority.INTERACTIVE).scans == 1
    assert load.voxels_per_second is None and load.seconds is None


def test_age_is_since_it_was_queued_and_not_of_what_is_tried_again(database: Database) -> None:
    """A retry of an old scan, or one given back, is as young as its place in the queue; failures have no age."""
    jobs, leases = Jobs(database, owner="here"), Leases(database, owner="here", seconds=30)
    scan_id = queue(jobs)
    long_ago = time.time() - 5000
    with database.writing() as connection:
        connection.execute(update(scans).values(created=long_ago, queued=long_ago))
    assert 4990 < measure(database).of(Priority.NORMAL).oldest_seconds < 5100
    lease = leases.take(Priority.NORMAL)
    assert lease is not None
    leases.park(lease)
    assert measure(database).of(Priority.NORMAL).oldest_seconds < 60
    jobs.cancel(scan_id)
    with database.writing() as connection:
        connection.execute(update(scans).values(created=long_ago, queued=long_ago))
    jobs.retry(scan_id)
    assert measure(database).of(Priority.NORMAL).oldest_seconds < 60
    lease = leases.take(Priority.NORMAL)
    assert lease is not None
    leases.postpone(lease, "the disk is away", attempts=5)
    with database.writing() as connection:
        connection.execute(update(scans).values(queued=long_ago))
    waiting = measure(database).of(Priority.NORMAL)
    assert (waiting.scans, waiting.oldest_seconds) == (1, 0.0)


def test_the_rate_is_that_of_all_running_scans_with_a_lease(database: Database) -> None:
    """Two of 5 slices of 16 voxels a second are 160 voxels/s; one whose worker is gone adds its work and no speed."""
    jobs = Jobs(database, owner="here")
    for worker, seconds in (("a", 60.0), ("b", 60.0), ("gone", 0.0)):
        queue(jobs)
        leases = Leases(database, owner=worker, seconds=seconds or 60.0)
        lease = leases.take(Priority.NORMAL)
        assert lease is not None
        done = FinishedSlabs(
            checksums={},
            slabs_done=2,
            statistics=OrganStatistics.empty(3),
            judgement=Judgement.empty(2),
            warnings=(),
            timings={},
            batch_size=1,
            rate=5.0,
        )
        leases.commit(lease, done)
        if not seconds:
            with database.writing() as connection:
                connection.execute(update(scans).where(scans.c.owner == "gone").values(lease_until=1.0))
    queue(jobs)
    load = measure(database)
    assert load.voxels_per_second == pytest.approx(160.0)
    assert (load.running_scans, load.running_voxels) == (3, pytest.approx(3 * 160 * 0.6))
    assert load.seconds == pytest.approx((160 + 288) / 160)


def test_small_scans_that_finished_of_late_say_the_rate_too(database: Database) -> None:
    """Four of 160 voxels within the last 20 s are 32 voxels/s; those that finished an hour ago say nothing."""
    jobs = Jobs(database, owner="here")
    now = time.time()
    for ago in (5, 10, 10, 15, 3600):
        scan_id = queue(jobs)
        values = {"state": "succeeded", "finished": now - ago, "queued": now - ago - 5}
        with database.writing() as connection:
            connection.execute(update(scans).where(scans.c.id == scan_id).values(values))
    assert measure(database).voxels_per_second == pytest.approx(640 / 20, rel=0.3)


def refusal(load: Load, limits: QueueLimits, size: int = 0, *, priority: Priority = Priority.NORMAL) -> QueueFull:
    with pytest.raises(QueueFull) as refused:
        asyncio.run(Admission(lambda: load, limits).check(priority, size))
    return refused.value


def test_the_estimate_is_the_work_that_has_to_go_first_by_the_rate() -> None:
    """Worked out on paper for each limit, and kept between a second and an hour."""
    waiting = {int(Priority.NORMAL): Waiting(scans=10, bytes=1000, voxels=5000.0, oldest_seconds=200.0)}
    load = Load(waiting, running_scans=0, voxels_per_second=10.0)
    scans_limit = dataclasses.replace(UNLIMITED, scans=8)
    assert refusal(load, scans_limit).seconds == 150, "three of ten scans, 1500 voxels"
    assert refusal(load, dataclasses.replace(UNLIMITED, bytes=900), 100).seconds == 100, "200 of 1000 bytes"
    assert refusal(load, dataclasses.replace(UNLIMITED, age_seconds=50.0)).seconds == 375, "three quarters are older"
    assert refusal(dataclasses.replace(load, voxels_per_second=1e6), scans_limit).seconds == 1
    assert refusal(dataclasses.replace(load, voxels_per_second=0.001), scans_limit).seconds == 3600
    assert refusal(dataclasses.replace(load, voxels_per_second=None), scans_limit).seconds == 30
    asyncio.run(Admission(lambda: load, scans_limit).check(Priority.INTERACTIVE))
    assert refusal(load, scans_limit, priority=Priority.BACKLOG).limit == "scans"


def test_a_place_is_held_until_the_database_counts_the_scan() -> None:
    """Of two that are taken in beside nine that wait, the second has no place; one that failed gives its place back."""
    load = Load({int(Priority.NORMAL): Waiting(scans=9, bytes=9, voxels=9.0)})

    async def taken() -> list[str]:
        admission, said = Admission(lambda: load, dataclasses.replace(UNLIMITED, scans=10)), []
        with suppress(ZeroDivisionError):
            async with admission.taking(Priority.NORMAL):
                with pytest.raises(QueueFull):
                    await admission.check(Priority.NORMAL)
                said.append("full")
                await admission.check(Priority.INTERACTIVE)
                raise ZeroDivisionError
        async with admission.taking(Priority.NORMAL):
            said.append("room again")
        with pytest.raises(QueueFull):
            await admission.check(Priority.NORMAL)
        return [*said, "full until counted"]

    assert asyncio.run(taken()) == ["full", "room again", "full until counted"]


def test_single_slices_have_a_bound_of_number_and_of_memory() -> None:
    """Twelve slices a second of late: three too many are a quarter of a second, rounded up; 48 too many are 4 s."""
    room = SliceRoom(most_slices=10, most_bytes=10_000)
    room.check([], np.zeros((99, 4, 4), np.float32))
    waiting = [np.zeros((4, 4, 4), np.float32)] * 2
    room.check(waiting, waiting[0][:2])
    with pytest.raises(SlicesFull) as unknown:
        room.check(waiting, waiting[0])
    assert (unknown.value.limit, unknown.value.waiting, unknown.value.seconds) == ("slices", 8, 1)
    room.computed(6, 1.0, lanes=2)
    with pytest.raises(SlicesFull) as many:
        room.check(waiting, np.zeros((50, 4, 4), np.float32))
    assert many.value.seconds == 4
    with pytest.raises(SlicesFull) as large:
        room.check(waiting, np.zeros((1, 50, 50), np.float32))
    assert (large.value.limit, large.value.waiting, large.value.most) == ("bytes", 512, 10_000)
