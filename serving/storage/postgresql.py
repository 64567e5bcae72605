"""PostgreSQL: connections whose every statement is answered within a time limit, or fails and is closed.

A database that is gone says so at once. One that hangs (a frozen machine, a disk that does not answer, a network that
swallows) keeps its connections open and says nothing for ever, and no setting of the server can end that.

The other way round, a process that is frozen in the middle of a transaction would keep its rows from all others for as
long as it is frozen: the server ends such a transaction, and one whose process is gone without a word.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.pool import ConnectionPoolEntry

ANSWER_SECONDS = 10.0
"""How long the answer to one statement may take."""
IDLE_SECONDS = 10.0
"""How long a transaction may wait for the next statement of its process."""
_CONNECT_SECONDS = 5
_POOL_SECONDS = 5.0
"""How long one who asks waits for a connection while all are in use."""

_Answer = TypeVar("_Answer")


class _Impatient(psycopg.Connection[Any]):
    """A connection that is closed where the server says nothing for too long."""

    hurried = True

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        """As psycopg's, which everything goes through that waits for the server. Raises OperationalError."""
        try:
            return self._wait(gen, interval, timeout)
        except psycopg.errors.IdleInTransactionSessionTimeout as error:  # as any connection that is lost
            raise psycopg.OperationalError(f"this process was silent in a transaction for too long: {error}") from None

    def _wait(self, gen: PQGen[_Answer], interval: float, timeout: float | None) -> _Answer:
        if timeout is None and not self.hurried:
            return super().wait(gen, interval)
        limit = ANSWER_SECONDS if timeout is None else timeout
        began = time.monotonic()
        try:
            return super().wait(gen, interval, limit)
        except psycopg.OperationalError:
            if time.monotonic() - began < limit:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the database gave no answer for {limit:g} s") from None


def engine(url: URL) -> Engine:
    """Connections to that database."""
    made = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        pool_timeout=_POOL_SECONDS,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "ricefish",
            "keepalives_idle": 10,  # seconds; a server that is gone without a word is noticed within half a minute
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )

    @event.listens_for(made, "do_connect")
    def _connect(
        _dialect: Dialect, _entry: ConnectionPoolEntry, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        return _Impatient.connect(*arguments, **named)

    @event.listens_for(made, "connect")
    def _limit(connection: Any, _entry: ConnectionPoolEntry) -> None:
        with connection.cursor() as cursor:
            for name, value in _session().items():
                cursor.execute(f"SET {name} = {value}")
        connection.commit()

    return made


def _session() -> dict[str, int]:
    """What the server is asked to do about a client that says nothing. Seconds but for the first, milliseconds."""
    return {
        "idle_in_transaction_session_timeout": round(1000 * IDLE_SECONDS),
        "tcp_keepalives_idle": 10,
        "tcp_keepalives_interval": 5,
        "tcp_keepalives_count": 3,
    }


@contextmanager
def unhurried(connection: Connection) -> Iterator[None]:
    """Lets the statements of a connection take as long as they take: making an index of a large table, say."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, _Impatient):
        yield
        return
    raw.hurried = False
    try:
        yield
    finally:
        raw.hurried = True
