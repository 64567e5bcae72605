"""Load: what waits to be segmented, what is being segmented, and how fast it goes of late, over all workers.

Counted by the database, so that it is the same whichever server is asked, in three statements that read the rows of
unfinished and just finished scans alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Float, and_, case, cast, func, or_, select

from serving.queue.jobs import Priority
from serving.storage.database import Database
from serving.storage.tables import scans

_LATE_SECONDS = 300.0
"""Scans that finished within this time say how fast it goes of late."""


@dataclass(frozen=True)
class Waiting:
    """Scans that wait for a worker."""

    scans: int = 0
    bytes: int = 0
    """Of their files."""
    voxels: float = 0.0
    """That are not segmented yet."""
    oldest_seconds: float = 0.0
    """Since the one that waits for longest was queued; those that are tried again do not count. 0: none."""

    def __add__(self, other: Waiting) -> Waiting:
        return Waiting(
            self.scans + other.scans,
            self.bytes + other.bytes,
            self.voxels + other.voxels,
            max(self.oldest_seconds, other.oldest_seconds),
        )


@dataclass(frozen=True)
class Load:
    """What there is to do at one moment."""

    waiting: Mapping[int, Waiting]
    """By priority."""
    running_scans: int = 0
    running_voxels: float = 0.0
    """Of scans under way, that are not segmented yet."""
    voxels_per_second: float | None = None
    """Of late, by all workers; None where nothing is known."""
    asked: float = 0.0
    """When the database was asked, by this process's `time.monotonic`."""

    def of(self, priority: Priority) -> Waiting:
        """What waits with one priority."""
        return self.waiting.get(int(priority), Waiting())

    def before(self, priority: Priority) -> Waiting:
        """What waits that is as urgent or more so, and goes before a new scan of that priority."""
        return sum((self.of(other) for other in Priority if other <= priority), Waiting())

    @property
    def seconds(self) -> float | None:
        """Until all of it is done, at the rate of late; None where no rate is known."""
        if self.voxels_per_second is None:
            return None
        return (sum((self.of(one).voxels for one in Priority), 0.0) + self.running_voxels) / self.voxels_per_second


def measure(database: Database, *, but_arriving_at: str | None = None) -> Load:
    """Counts; scans that are arriving at the process of that name are left out, as it knows of them itself.

    Raises SQLAlchemyError where the database does not answer.
    """
    asked = time.monotonic()
    with database.reading() as connection:
        waiting = _waiting(connection, database, but_arriving_at)
        number, voxels, rate = _running(connection, database)
        rates = [speed for speed in (rate, _finished_rate(connection, database)) if speed]
    return Load(waiting, number, voxels, max(rates, default=None), asked)


_LEFT = scans.c.voxels * (1.0 - cast(scans.c.slabs_done, Float(53)) / func.nullif(scans.c.slabs, 0))
"""Voxels of a scan that are not segmented yet; NULL in rows of an earlier version."""


def _waiting(connection: Connection, database: Database, but_arriving_at: str | None) -> dict[int, Waiting]:
    since = case((scans.c.failures == 0, func.coalesce(scans.c.queued, scans.c.created)))
    remote = and_(scans.c.state == "arriving", scans.c.owner != but_arriving_at)
    query = (
        select(
            scans.c.priority,
            func.count(),
            func.coalesce(func.sum(scans.c.bytes), 0),
            func.coalesce(func.sum(_LEFT), 0.0),
            func.coalesce(database.now - func.min(since), 0.0),
        )
        .where(or_(scans.c.state == "queued", remote))
        .group_by(scans.c.priority)
    )
    return {
        priority: Waiting(number, int(size), float(voxels), max(0.0, age))
        for priority, number, size, voxels, age in connection.execute(query)
    }


def _running(connection: Connection, database: Database) -> tuple[int, float, float]:
    """Scans under way, their voxels left, and the sum of the rates at which their latest slabs came."""
    alive = case((scans.c.lease_until >= database.now, scans.c.rate * scans.c.voxels / func.nullif(scans.c.slices, 0)))
    query = select(func.count(), func.coalesce(func.sum(_LEFT), 0.0), func.coalesce(func.sum(alive), 0.0)).where(
        scans.c.state == "running"
    )
    number, voxels, rate = connection.execute(query).one()
    return number, float(voxels), float(rate)


def _finished_rate(connection: Connection, database: Database) -> float:
    """Voxels per second of the scans that finished of late; 0 where none did.

    Small scans, of a slab or two, have no rate while they run.
    """
    late = and_(scans.c.state == "succeeded", scans.c.finished > database.now - _LATE_SECONDS)
    first = func.min(func.coalesce(scans.c.queued, scans.c.created))
    query = select(func.sum(scans.c.voxels), database.now - first).where(late)
    voxels, seconds = connection.execute(query).one()
    return float(voxels) / min(max(seconds, 1.0), _LATE_SECONDS) if voxels else 0.0
