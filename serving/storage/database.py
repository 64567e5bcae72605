"""Database: connections to the tables, in SQLite or PostgreSQL. Whoever writes a row says when it may."""

from __future__ import annotations

import contextlib
import errno
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Float,
    create_engine,
    event,
    func,
    inspect,
    literal_column,
    make_url,
    select,
)
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import CreateColumn

from scans.addresses import without_passwords
from serving.observability.reasons import first_line
from serving.storage.failures import is_full
from serving.storage.reserve import Reserve
from serving.storage.tables import STATES, metadata, scans

_READS = "ricefish_reads"
_BUSY_SECONDS = 60
_OPENING, _TURN = 0x71CEF154, 0x71CEF155
"""Of PostgreSQL's advisory locks."""
_FULL_SECONDS = 30.0
"""How long it counts that something could not be written for want of room."""


class DatabaseError(OSError):
    """A database that cannot be used; the message names it without its password."""


class Database:
    """Connections to the table of scans. Times are seconds since 1970 by the database's own clock."""

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
        except (ArgumentError, ValueError):  # the latter of a port
            raise DatabaseError(
                "RICEFISH_DATABASE_URL is no address; expected sqlite:///PATH or postgresql://USER@HOST/NAME"
            ) from None
        kind = self.url.get_backend_name()
        if kind not in ("sqlite", "postgresql"):
            raise DatabaseError(f"the database {self.name} is neither sqlite:///PATH nor postgresql://USER@HOST/NAME")
        self.shared = kind == "postgresql"
        """True where several processes may work on one queue."""
        self._unhurried: Callable[[Connection], AbstractContextManager[object]] = contextlib.nullcontext
        if self.shared:
            from serving.storage import postgresql  # noqa: PLC0415  its library is loaded only where it is used

            self._engine, self._unhurried = postgresql.engine(self.url), postgresql.unhurried
        else:
            self._engine = _sqlite(self.url)
        file = None if self.shared else self.url.database
        self.file = Path(file) if file and file != ":memory:" else None
        """Where SQLite keeps it; None for PostgreSQL, and in memory."""
        self._reserve = Reserve(Path(f"{file}-reserve")) if self.file else None
        self._full_at = -math.inf
        event.listen(self._engine, "handle_error", self._failed)
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT", **{_READS: True})

    @property
    def name(self) -> str:
        """The address without the password, wherever in it that stands."""
        return without_passwords(self.url.render_as_string(hide_password=True))

    def open(self) -> None:
        """Makes the tables, columns and indexes that are missing. Raises DatabaseError where it cannot be reached."""
        try:
            with self._engine.begin() as connection, self._unhurried(connection):
                if self.shared:  # two processes that start at once would both make the table
                    connection.execute(func.pg_advisory_xact_lock(_OPENING).select())
                metadata.create_all(connection)
                _complete(connection)
        except (SQLAlchemyError, UnicodeError) as error:  # the latter of damaged text in its schema
            raise DatabaseError(f"the database {self.name} cannot be used: {first_line(error)}") from error
        self.keep_reserve()

    def close(self) -> None:
        """Gives all connections back."""
        self._engine.dispose()

    def writing(self) -> Connection:
        """A transaction, as a context: committed at its end unless something is raised."""
        return self._engine.begin()  # type: ignore[return-value]  # a context manager of a Connection

    def in_turn(self, connection: Connection) -> None:
        """Lets a transaction go on when no other is under way that asked for this, in any process. Ask for it first."""
        if self.shared:  # SQLite's go one after the other as they are
            connection.execute(func.pg_advisory_xact_lock(_TURN).select())

    def reading(self) -> Connection:
        """A connection for single SELECT statements."""
        return self._reading.connect()

    def check(self) -> None:
        """Raises SQLAlchemyError if the table of scans cannot be read at this moment."""
        with self.reading() as connection:
            connection.execute(select(scans.c.id).limit(1)).first()

    def problems(self) -> list[str]:
        """What SQLite finds wrong with its file, and what no version has written. PostgreSQL looks for itself."""
        found = []
        with self.reading() as connection:
            if not self.shared:
                found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)")]
                found += _unknown_columns(connection)
            query = select(scans.c.id, scans.c.state).where(scans.c.state.not_in(STATES))
            found += [f"scan {row.id} has the state {row.state!r}" for row in connection.execute(query)]
        return [f"{self.name}: {problem}" for problem in found if problem != "ok"]

    def known_scans(self) -> set[str]:
        """Ids of all scans that have a row, be they arriving or removed."""
        with self.reading() as connection:
            return set(connection.scalars(select(scans.c.id)))

    def check_room(self) -> None:
        """Raises OSError (ENOSPC) where there was no room for something to be written a moment ago."""
        if time.monotonic() - self._full_at < _FULL_SECONDS:
            raise OSError(errno.ENOSPC, "the database's disk is full")

    def even_if_full(self, write: Callable[[], None]) -> None:
        """Writes what makes room: where there is none, on that which was kept for it. Raises SQLAlchemyError."""
        try:
            write()
        except SQLAlchemyError as error:
            if self._reserve is None or not is_full(error) or not self._reserve.release():
                raise
            write()

    def keep_reserve(self) -> None:
        """Keeps room for `even_if_full`, where there is some."""
        if self._reserve is not None:
            self._reserve.keep()

    def _failed(self, context: ExceptionContext) -> None:
        if is_full(context.original_exception):
            self._full_at = time.monotonic()

    @property
    def now(self) -> ColumnElement[float]:
        """This moment by the database's clock."""
        if self.shared:
            return func.extract("epoch", func.clock_timestamp()).cast(Float(53))
        return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Float(53))


def _complete(connection: Connection) -> None:
    """Adds to tables of an earlier version the columns, which are NULL there, and the indexes that came since."""
    for table in metadata.sorted_tables:
        present = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _text(stored: bytes) -> str:
    """Of a text in SQLite: one that is damaged is a text too, which its checksum does not fit."""
    return stored.decode("utf-8", "surrogateescape")


def _unknown_columns(connection: Connection) -> list[str]:
    """Of SQLite's tables. A column whose name is not what it was counts as missing, and is added anew, empty."""
    found = []
    for table in metadata.sorted_tables:
        known = {column.name: column.type.compile(connection.dialect) for column in table.columns}
        for row in connection.exec_driver_sql(f"PRAGMA table_info({table.name})"):
            if known.get(row.name) != row.type:
                found.append(f"the table {table.name} has a column {row.name!r} of {row.type!r}: no version makes one")
    return found


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connected(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        connection.text_factory = _text
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_SECONDS * 1000}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if not connection.get_execution_options().get(_READS):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
