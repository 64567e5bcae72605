"""Leases: the queue as workers see it. Whoever takes a scan raises its epoch, and every write of an older epoch fails.

So a process that was frozen, cut off or merely slow past its lease can change nothing any more in a scan that another
has taken up, whatever it believes; this holds by the conditions of the statements, not by anyone's clock.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Update, and_, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from scans.measures.statistics import OrganStatistics
from scans.model.drift import Departure
from scans.model.judgement import Judgement
from serving.observability import logs
from serving.queue.scan import Scan
from serving.queue.state import Priority, warnings_text
from serving.storage.database import Database, scans

MOST_STARTS = 50
"""A scan that was begun so often without finishing one more slab takes its process down each time: it fails."""


class LeaseLost(Exception):
    """The scan is no longer this process's: cancelled, removed, or taken up by another."""


@dataclass(frozen=True)
class Lease:
    """A scan that this process may work on, from where it stopped."""

    scan: Scan
    priority: Priority
    epoch: int
    slabs_done: int
    statistics: OrganStatistics
    """Of the slabs that are done."""
    judgement: Judgement
    """Of the slabs that are done."""
    batch_size: int | None
    """That the scan was begun with; None if it is begun now."""
    timings: Mapping[str, float]
    """Seconds by activity, of the slabs that are done."""


class Leases:
    """Takes scans for one process, keeps them, and writes down how far they are."""

    def __init__(
        self,
        database: Database,
        *,
        owner: str,
        seconds: float,
        on_success: Callable[[Connection, Scan], None] = lambda connection, scan: None,
    ) -> None:
        """`on_success` writes in the transaction that ends a scan; the scan succeeds whatever becomes of that."""
        self._database = database
        self._on_success = on_success
        self.owner = owner
        self.seconds = seconds

    def take_back(self, *, alone: bool) -> int:
        """Makes the scans free at once that an earlier process of this name left behind, or `alone`, any process."""
        mine = scans.c.state == "running" if alone else and_(scans.c.state == "running", scans.c.owner == self.owner)
        with self._database.writing() as connection:
            return connection.execute(update(scans).where(mine).values(lease_until=0.0)).rowcount

    def take(self, priority: Priority) -> Lease | None:
        """The oldest scan of a priority that waits or whose owner is gone; None if there is none."""
        oldest = self._free(priority).order_by(scans.c.created).limit(1)
        with self._database.reading() as connection:  # asked often, and mostly in vain: without a lock
            if connection.execute(oldest.with_only_columns(scans.c.id)).first() is None:
                return None
        with self._database.writing() as connection:
            row = connection.execute(oldest.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            hopeless = row.starts >= MOST_STARTS
            values = self._hopeless(row) if hopeless else {"state": "running", "lease_until": self._until}
            connection.execute(
                update(scans)
                .where(scans.c.id == row.id)
                .values(epoch=row.epoch + 1, starts=row.starts + 1, owner=self.owner, **values)
            )
        if hopeless:
            logs.event("scan_failed", level=logging.ERROR, scan=row.id, error=values["error"])
            return None
        if row.state == "running":
            logs.event("scan_taken_over", scan=row.id, slab=row.slabs_done, before=row.owner)
        return _lease(row)

    def _free(self, priority: Priority) -> Select[Any]:
        now = self._database.now
        waits = and_(scans.c.state == "queued", scans.c.not_before <= now)
        left_behind = and_(scans.c.state == "running", scans.c.lease_until < now)
        return select(scans).where(scans.c.priority == int(priority), or_(waits, left_behind))

    def _hopeless(self, row: Row[Any]) -> dict[str, Any]:
        error = f"the server ended {row.starts} times while it was at slab {row.slabs_done}; its log says why"
        return {"state": "failed", "error": error, "finished": self._database.now, "lease_until": None}

    def renew(self, leases: Collection[Lease]) -> set[str]:
        """Renews what is still this process's; gives the ids of those scans. The others are lost."""
        kept = set()
        for lease in leases:
            with self._database.writing() as connection:
                if connection.execute(self._mine(lease).values(lease_until=self._until)).rowcount:
                    kept.add(lease.scan.id)
        return kept

    def still(self, leases: Collection[Lease]) -> set[str]:
        """Ids of the scans that are still this process's, without renewing them."""
        query = select(scans.c.id, scans.c.epoch).where(scans.c.id.in_([lease.scan.id for lease in leases]))
        with self._database.reading() as connection:
            epochs = {row.id: row.epoch for row in connection.execute(query)}
        return {lease.scan.id for lease in leases if epochs.get(lease.scan.id) == lease.epoch}

    def commit(
        self,
        lease: Lease,
        *,
        slabs_done: int,
        statistics: OrganStatistics,
        judgement: Judgement,
        warnings: Sequence[Departure],
        timings: Mapping[str, float],
        batch_size: int,
        rate: float | None,
    ) -> None:
        """Writes down that slabs [0, slabs_done) are in the store. Raises LeaseLost."""
        self._write(
            lease,
            slabs_done=slabs_done,
            statistics=json.dumps(statistics.to_dict()),
            judgement=json.dumps(judgement.to_dict()),
            warnings=warnings_text(warnings),
            timings=json.dumps(dict(timings)),
            batch_size=batch_size,
            rate=rate,
            failures=0,
            starts=0,
            error=None,
            lease_until=self._until,
        )

    def succeed(self, lease: Lease) -> None:
        """Ends a scan whose slabs are all in the store. Raises LeaseLost."""
        values = {"state": "succeeded", "finished": self._database.now, "lease_until": None, "error": None}
        with self._database.writing() as connection:
            if not connection.execute(self._mine(lease).values(**values)).rowcount:
                raise _lost(lease)
            try:
                with connection.begin_nested():
                    self._on_success(connection, lease.scan)
            except SQLAlchemyError as error:
                logs.event("success_not_followed", level=logging.ERROR, scan=lease.scan.id, error=error)

    def fail(self, lease: Lease, error: str) -> None:
        """Ends a scan that cannot be finished. Raises LeaseLost."""
        self._write(lease, state="failed", finished=self._database.now, lease_until=None, error=error)

    def postpone(self, lease: Lease, error: str, *, attempts: int | None) -> float | None:
        """Queues a scan again after an error that may pass, later each time; gives the seconds until then.

        None where `attempts` (None: any number) are used up: it has failed. Raises LeaseLost.
        """
        with self._database.reading() as connection:
            failures = connection.scalar(select(scans.c.failures).where(scans.c.id == lease.scan.id)) or 0
        if attempts is not None and failures + 1 >= attempts:
            self.fail(lease, f"{error} (tried {failures + 1} times)")
            return None
        seconds = min(2.0 ** min(failures, 6), 60.0)
        self._write(
            lease,
            state="queued",
            not_before=self._database.now + seconds,
            failures=failures + 1,
            starts=0,
            error=error,
            lease_until=None,
        )
        return seconds

    def park(self, lease: Lease) -> None:
        """Gives a scan back unfinished, for the next who is free. Raises LeaseLost."""
        self._write(lease, state="queued", lease_until=None, starts=0, queued=self._database.now)

    @property
    def _until(self) -> ColumnElement[float]:
        return self._database.now + self.seconds

    def _mine(self, lease: Lease) -> Update:
        return update(scans).where(
            scans.c.id == lease.scan.id, scans.c.epoch == lease.epoch, scans.c.state == "running"
        )

    def _write(self, lease: Lease, **values: object) -> None:
        with self._database.writing() as connection:
            changed = connection.execute(self._mine(lease).values(**values)).rowcount
        if not changed:
            raise _lost(lease)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"scan {lease.scan.id} was cancelled, removed or taken up by another")


def _lease(row: Row[Any]) -> Lease:
    """The lease of a row as it was found, before its epoch was raised."""
    scan = Scan.from_dict(json.loads(row.content))
    done = OrganStatistics.from_dict(json.loads(row.statistics)) if row.statistics else None
    judged = Judgement.from_dict(json.loads(row.judgement)) if row.judgement else None
    return Lease(
        scan=scan,
        priority=Priority(row.priority),
        epoch=row.epoch + 1,
        slabs_done=row.slabs_done,
        statistics=done or OrganStatistics.empty(scan.organs.classes),
        judgement=judged or Judgement.empty(len(scan.organs)),
        batch_size=row.batch_size,
        timings=json.loads(row.timings) if row.timings else {},
    )
