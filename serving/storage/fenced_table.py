"""Fenced tables: rows that processes take in turn. Whoever takes one raises its epoch; writes of an older one fail.

So a process that was frozen, cut off or merely slow past its lease can change nothing any more in a row that another
has taken up, whatever it believes; this holds by the conditions of the statements, not by anyone's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, or_, select, true, update

from serving.storage.database import Database


class LeaseLost(Exception):
    """The row is no longer this process's: ended by somebody else, removed, or taken up by another."""


@dataclass(frozen=True)
class FencedTable:
    """A table with columns id, state, not_before, starts, error, owner, epoch, lease_until, slabs_done, finished.

    A row waits, is `running`, or has ended.
    """

    table: Table
    waiting: str
    """State of the rows that may be taken."""
    failed: str
    """State of the rows that cannot be finished."""
    most_starts: int
    """A row that was begun so often without finishing one more slab takes its process down each time: it fails."""
    process: str
    """What takes the rows, in that error."""
    valid: ColumnElement[bool] = true()  # noqa: RUF009  an expression, which nothing changes
    """What must hold besides for a row to be written."""

    def free(self, now: ColumnElement[float]) -> ColumnElement[bool]:
        """True for a row that waits, and for one whose owner is gone."""
        waits = and_(self.table.c.state == self.waiting, self.table.c.not_before <= now)
        return or_(waits, self.left_behind(now))

    def left_behind(self, now: ColumnElement[float]) -> ColumnElement[bool]:
        """True for a row whose owner is gone."""
        return and_(self.table.c.state == "running", self.table.c.lease_until < now)


@dataclass(frozen=True)
class Fence:
    """What a process shows to write a row: the epoch in which it took it."""

    id: str
    epoch: int
    name: str
    """Of what the row stands for, in errors."""


class Taken(NamedTuple):
    """A row as it was found, before its epoch was raised."""

    row: Row[Any]
    error: str | None
    """Why it has failed instead: it was begun too often. None: it is this process's now."""


class FencedRows:
    """The rows of a fenced table as one process takes, keeps and ends them."""

    def __init__(self, database: Database, fenced: FencedTable, *, owner: str, seconds: float) -> None:
        """A process, named `owner`, that has not renewed its lease for `seconds` loses it."""
        self._database = database
        self._fenced = fenced
        self._table = fenced.table
        self.owner = owner
        self.seconds = seconds

    def take_back(self, *, alone: bool) -> int:
        """Frees at once what an earlier process of this name left behind, or `alone`, any process; gives how many."""
        running = self._table.c.state == "running"
        left = running if alone else and_(running, self._table.c.owner == self.owner)
        with self._database.writing() as connection:
            return connection.execute(update(self._table).where(left).values(lease_until=0.0)).rowcount

    @property
    def free(self) -> ColumnElement[bool]:
        """True for a row that can be taken at this moment."""
        return self._fenced.free(self._database.now)

    def take(self, query: Select[Any]) -> Taken | None:
        """Takes the row that a query of at most one finds; None if it finds none that no other is taking."""
        with self._database.writing() as connection:
            row = connection.execute(query.with_for_update(of=self._table, skip_locked=True)).one_or_none()
            if row is None:
                return None
            error = None
            values: dict[str, Any] = {"state": "running", "lease_until": self.until}
            if row.starts >= self._fenced.most_starts:
                error = (
                    f"the {self._fenced.process} ended {row.starts} times while it was at slab {row.slabs_done}; "
                    "its log says why"
                )
                values = self._failed(error)
            connection.execute(
                update(self._table)
                .where(self._table.c.id == row.id)
                .values(epoch=row.epoch + 1, starts=row.starts + 1, owner=self.owner, **values)
            )
        return Taken(row, error)

    def still(self, fences: Iterable[Fence]) -> set[str]:
        """Ids of the rows that are still this process's, without renewing them."""
        held = {fence.id: fence.epoch for fence in fences}
        query = select(self._table.c.id, self._table.c.epoch).where(self._table.c.id.in_(list(held)))
        with self._database.reading() as connection:
            return {row.id for row in connection.execute(query) if row.epoch == held[row.id]}

    def renew(self, fence: Fence) -> None:
        """Keeps a row for longer. Raises LeaseLost."""
        self.write(fence, lease_until=self.until)

    def write(self, fence: Fence, **values: Any) -> None:
        """Writes in a row. Raises LeaseLost."""
        with self._database.writing() as connection:
            self.write_in(connection, fence, **values)

    def write_in(self, connection: Connection, fence: Fence, **values: Any) -> None:
        """Writes in a row, in a transaction that goes on. Raises LeaseLost."""
        mine = and_(self._table.c.id == fence.id, self._table.c.epoch == fence.epoch, self._table.c.state == "running")
        if not connection.execute(update(self._table).where(mine, self._fenced.valid).values(**values)).rowcount:
            raise LeaseLost(f"{fence.name} was cancelled, removed or taken up by another")

    def park(self, fence: Fence, **values: Any) -> None:
        """Gives a row back unfinished, for the next who is free. Raises LeaseLost."""
        self.write(fence, state=self._fenced.waiting, lease_until=None, starts=0, **values)

    def postpone(self, fence: Fence, error: str, *, seconds: float, **values: Any) -> None:
        """Gives a row back after an error that may pass, to be taken in so many seconds. Raises LeaseLost."""
        not_before = self._database.now + seconds
        self.write(fence, state=self._fenced.waiting, not_before=not_before, lease_until=None, error=error, **values)

    def fail(self, fence: Fence, error: str) -> None:
        """Ends a row that cannot be finished. Raises LeaseLost."""
        self.write(fence, **self._failed(error))

    def ended(self, state: str, *, error: str | None = None) -> dict[str, Any]:
        """What is written in a row that ends."""
        return {"state": state, "finished": self._database.now, "lease_until": None, "error": error}

    @property
    def until(self) -> ColumnElement[float]:
        """When a lease that is renewed now runs out."""
        return self._database.now + self.seconds

    def _failed(self, error: str) -> dict[str, Any]:
        return self.ended(self._fenced.failed, error=error)
