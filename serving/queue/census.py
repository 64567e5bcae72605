"""Census: how many scans are in which state, counted by the database in two statements that read an index alone.

With it goes the load, so that one look at the database tells all that metrics say of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from serving.queue.jobs import Priority
from serving.queue.leases import SCANS
from serving.queue.load import Load, measure
from serving.storage.database import Database
from serving.storage.tables import scans


@dataclass(frozen=True)
class Census:
    """The scans at one moment."""

    counts: Mapping[tuple[str, int], int]
    """By state and priority."""
    oldest: Mapping[int, float]
    """Seconds since the oldest scan that waits was accepted, by priority."""
    left_behind: int
    """Running scans whose lease has run out."""
    seconds: float
    """That counting took."""
    load: Load

    @property
    def states(self) -> dict[str, int]:
        """Scans in each state; a state that is missing has none."""
        totals: dict[str, int] = {}
        for (state, _), count in self.counts.items():
            totals[state] = totals.get(state, 0) + count
        return totals

    def waiting(self, priority: Priority) -> int:
        """Scans that wait for a worker."""
        return self.counts.get(("queued", int(priority)), 0)

    def oldest_seconds(self, priority: Priority) -> float:
        """Age of the oldest of those; 0 where there is none."""
        return self.oldest.get(int(priority), 0.0)


def count(database: Database) -> Census:
    """Counts. Raises SQLAlchemyError where the database does not answer."""
    began = time.perf_counter()
    by_state = select(scans.c.state, scans.c.priority, func.count(), func.min(scans.c.created), database.now).group_by(
        scans.c.state, scans.c.priority
    )
    left_behind = select(func.count()).select_from(scans).where(SCANS.left_behind(database.now))
    with database.reading() as connection:
        rows = list(connection.execute(by_state))
        lost = connection.scalar(left_behind) or 0
    return Census(
        counts={(state, priority): number for state, priority, number, _, _ in rows},
        oldest={priority: max(0.0, now - created) for state, priority, _, created, now in rows if state == "queued"},
        left_behind=lost,
        seconds=time.perf_counter() - began,
        load=measure(database),
    )
