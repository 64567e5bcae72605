"""Rows of the database with a flipped bit: nothing of them is handed out, and they keep nobody else from anything."""

from __future__ import annotations

import pytest
from sqlalchemy import LargeBinary, cast, update

from serving.queue.jobs import Jobs, Priority
from serving.storage.database import Database
from serving.storage.sealed import NoteDamaged, sealed, unsealed
from serving.storage.tables import scans
from tests.serving.queues import commit, leases, queued

COLUMNS = ("content", "statistics", "judgement", "checksums", "warnings")


def _succeeded(database: Database, jobs: Jobs) -> str:
    scan, owner = queued(jobs), leases(database, "a")
    lease = owner.take(Priority.NORMAL)
    assert lease is not None
    commit(owner, lease, slabs_done=3)
    owner.succeed(lease)
    return scan.id


def _flip(database: Database, scan_id: str, column: str) -> None:
    with database.writing() as connection:
        text = connection.execute(scans.select().where(scans.c.id == scan_id)).one()._mapping[column]
        place = len(text) // 3
        flipped = f"{text[:place]}{chr(ord(text[place]) ^ 1)}{text[place + 1 :]}"
        connection.execute(update(scans).where(scans.c.id == scan_id).values({column: flipped}))


@pytest.mark.parametrize("column", COLUMNS)
def test_a_damaged_row_is_refused_and_left_out_of_lists(database: Database, jobs: Jobs, column: str) -> None:
    """Whichever column it is; the other scans are there, and it can be removed."""
    damaged, whole = _succeeded(database, jobs), _succeeded(database, jobs)
    _flip(database, damaged, column)
    with pytest.raises(NoteDamaged, match=damaged):
        jobs.get(damaged)
    assert [scan.id for scan, _ in jobs.page(limit=10)] == [whole]
    jobs.remove(damaged)


@pytest.mark.parametrize(
    "damage",
    [{"priority": 65}, {"content": cast(scans.c.content, LargeBinary)}, {"timings": "7"}],
    ids=["a priority that is none", "a text that is bytes", "a text that is a number"],
)
def test_a_row_of_other_kinds_of_values_is_a_damaged_one(
    database: Database, jobs: Jobs, damage: dict[str, object]
) -> None:
    """As SQLite reads them where the bit is one of the record's header."""
    if database.shared and "content" in damage:
        pytest.skip("PostgreSQL keeps the types of columns")
    damaged, whole = _succeeded(database, jobs), _succeeded(database, jobs)
    with database.writing() as connection:
        connection.execute(update(scans).where(scans.c.id == damaged).values(damage))
    with pytest.raises(NoteDamaged, match=damaged):
        jobs.get(damaged)
    assert [scan.id for scan, _ in jobs.page(limit=10)] == [whole]


def test_a_scan_that_ended_before_it_came_is_not_old(database: Database, jobs: Jobs) -> None:
    """It is damaged, and is not what retention removes; one that ended long ago is."""
    damaged, old = _succeeded(database, jobs), _succeeded(database, jobs)
    with database.writing() as connection:
        connection.execute(update(scans).where(scans.c.id == damaged).values(finished=897_967_955.0))
        connection.execute(update(scans).where(scans.c.id == old).values(created=1.0, finished=2.0))
    assert jobs.older_than(86_400.0) == [old]


def test_a_damaged_row_fails_and_the_next_scan_is_taken(database: Database, jobs: Jobs) -> None:
    """It is not taken again and again, before all others."""
    damaged, next_one, owner = queued(jobs), queued(jobs), leases(database, "a")
    _flip(database, damaged.id, "content")
    assert owner.take(Priority.NORMAL) is None
    lease = owner.take(Priority.NORMAL)
    assert lease is not None
    assert lease.scan.id == next_one.id


def test_every_flipped_bit_of_a_sealed_text_is_found() -> None:
    """Each bit of each character; of an earlier version's text, which has no seal, only what breaks the JSON."""
    content = {"voxels": [12, 0, 7], "name": "heart"}
    text = sealed(content)
    assert unsealed(text, of="a") == unsealed('{"voxels": [12, 0, 7], "name": "heart"}', of="a") == content
    for place, character in enumerate(text):
        for bit in range(7):
            flipped = f"{text[:place]}{chr(ord(character) ^ 1 << bit)}{text[place + 1 :]}"
            with pytest.raises(NoteDamaged):
                unsealed(flipped, of="a")


def test_a_finished_scan_is_queued_to_be_made_again(database: Database, jobs: Jobs) -> None:
    """From its first slab, with the reason, by whoever is free; one that has not succeeded is not."""
    scan_id, owner = _succeeded(database, jobs), leases(database, "a")
    assert jobs.remake(scan_id, "it is damaged")
    job = jobs.get(scan_id)[1]
    assert (job.state, job.slabs_done, job.error, job.statistics) == ("queued", 0, "it is damaged", None)
    assert not jobs.remake(scan_id, "it is damaged")
    lease = owner.take(Priority.NORMAL)
    assert lease is not None
    assert (lease.scan.id, lease.slabs_done, dict(lease.checksums)) == (scan_id, 0, {})
