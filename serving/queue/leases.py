"""Leases: the queue as workers see it, a fenced table of scans."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import SQLAlchemyError

from scans.measures.statistics import OrganStatistics
from scans.model.drift import Departure
from scans.model.judgement import Judgement
from serving.observability import logs
from serving.observability.reasons import reason
from serving.queue.scan import Scan
from serving.queue.state import Priority, warnings_text, whole
from serving.storage.database import Database
from serving.storage.fenced_table import Fence, FencedRows, FencedTable, LeaseLost
from serving.storage.sealed import NoteDamaged, sealed, unsealed
from serving.storage.tables import scans

MOST_STARTS = 50
"""A scan that was begun so often without finishing one more slab takes its process down each time: it fails."""


SCANS = FencedTable(scans, waiting="queued", failed="failed", most_starts=MOST_STARTS, process="server")


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
    checksums: Mapping[str, str]
    """Of the files of the result that are written, by name; none where the result is to be made anew."""
    batch_size: int | None
    """That the scan was begun with; None if it is begun now."""
    timings: Mapping[str, float]
    """Seconds by activity, of the slabs that are done."""

    @property
    def fence(self) -> Fence:
        """What its row is written with."""
        return Fence(self.scan.id, self.epoch, name=f"scan {self.scan.id}")


@dataclass(frozen=True)
class FinishedSlabs:
    """The slabs [0, slabs_done) of a scan, which are in the store."""

    slabs_done: int
    statistics: OrganStatistics
    judgement: Judgement
    checksums: Mapping[str, str]
    """Of all files of the result that are written, by name."""
    warnings: Sequence[Departure]
    """How the scan is unlike the training, as far as these say."""
    timings: Mapping[str, float]
    """Seconds by activity."""
    batch_size: int
    """That the scan was begun with."""
    rate: float | None
    """Slices per second, of late; None until two slabs are finished."""


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
        self._rows = FencedRows(database, SCANS, owner=owner, seconds=seconds)
        self.seconds = seconds

    def take_back(self, *, alone: bool) -> int:
        """Makes the scans free at once that an earlier process of this name left behind, or `alone`, any process."""
        return self._rows.take_back(alone=alone)

    def take(self, priority: Priority) -> Lease | None:
        """The oldest scan of a priority that waits or whose owner is gone; None if there is none."""
        free = select(scans).where(scans.c.priority == int(priority), self._rows.free)
        oldest = free.order_by(scans.c.created).limit(1)
        with self._database.reading() as connection:  # asked often, and mostly in vain: without a lock
            if connection.execute(oldest.with_only_columns(scans.c.id)).first() is None:
                return None
        taken = self._rows.take(oldest)
        if taken is None:
            return None
        row, error = taken
        if error is not None:
            logs.event("scan_failed", level=logging.ERROR, scan=row.id, error=error)
            return None
        if row.state == "running":
            logs.event("scan_taken_over", scan=row.id, slab=row.slabs_done, before=row.owner)
        try:
            return _lease(row)
        except NoteDamaged as damaged:
            self._rows.fail(Fence(row.id, row.epoch + 1, name=f"scan {row.id}"), str(damaged))
            logs.event("scan_failed", level=logging.ERROR, scan=row.id, error=damaged)
            return None

    def renew(self, leases: Collection[Lease]) -> set[str]:
        """Renews what is still this process's; gives the ids of those scans. The others are lost."""
        kept = set()
        for lease in leases:
            with suppress(LeaseLost):
                self._rows.renew(lease.fence)
                kept.add(lease.scan.id)
        return kept

    def still(self, leases: Collection[Lease]) -> set[str]:
        """Ids of the scans that are still this process's, without renewing them."""
        return self._rows.still(lease.fence for lease in leases)

    def commit(self, lease: Lease, done: FinishedSlabs) -> None:
        """Writes down that slabs are in the store. Raises LeaseLost."""
        self._rows.write(
            lease.fence,
            slabs_done=done.slabs_done,
            statistics=sealed(done.statistics.to_dict()),
            judgement=sealed(done.judgement.to_dict()),
            checksums=sealed(dict(done.checksums)),
            warnings=warnings_text(done.warnings),
            timings=sealed(dict(done.timings)),
            batch_size=done.batch_size,
            rate=done.rate,
            failures=0,
            starts=0,
            error=None,
            lease_until=self._rows.until,
        )

    def succeed(self, lease: Lease) -> None:
        """Ends a scan whose slabs are all in the store. Raises LeaseLost."""
        with self._database.writing() as connection:
            self._rows.write_in(connection, lease.fence, **self._rows.ended("succeeded"))
            try:
                with connection.begin_nested():
                    self._on_success(connection, lease.scan)
            except SQLAlchemyError as error:
                logs.event("success_not_followed", level=logging.ERROR, scan=lease.scan.id, error=reason(error))

    def fail(self, lease: Lease, error: str) -> None:
        """Ends a scan that cannot be finished. Raises LeaseLost."""
        self._rows.fail(lease.fence, error)

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
        self._rows.postpone(lease.fence, error, seconds=seconds, failures=failures + 1, starts=0)
        return seconds

    def park(self, lease: Lease) -> None:
        """Gives a scan back unfinished, for the next who is free. Raises LeaseLost."""
        self._rows.park(lease.fence, queued=self._database.now)

    def begin_anew(self, lease: Lease, why: str) -> None:
        """Gives a scan back whose slabs are damaged in the store, to be made from its first one. Raises LeaseLost."""
        anew = {"slabs_done": 0, "statistics": None, "judgement": None, "checksums": None}
        self._rows.postpone(lease.fence, why, seconds=0.0, queued=self._database.now, **anew)


def _lease(row: Row[Any]) -> Lease:
    """The lease of a row as it was found, before its epoch was raised."""
    with whole(row) as of:
        scan = Scan.from_dict(unsealed(row.content, of=of))
        done = OrganStatistics.from_dict(unsealed(row.statistics, of=of)) if row.statistics else None
        judged = Judgement.from_dict(unsealed(row.judgement, of=of)) if row.judgement else None
        return Lease(
            scan=scan,
            priority=Priority(row.priority),
            epoch=row.epoch + 1,
            slabs_done=row.slabs_done,
            statistics=done or OrganStatistics.empty(scan.organs.classes),
            judgement=judged or Judgement.empty(len(scan.organs)),
            checksums=dict(unsealed(row.checksums, of=of)) if row.checksums else {},
            batch_size=row.batch_size,
            timings=dict(unsealed(row.timings, of=of)) if row.timings else {},
        )
