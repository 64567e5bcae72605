"""A PostgreSQL that accepts connections and says nothing: statements fail in time, and none is needed to recover."""

from __future__ import annotations

import time

import pytest
from sqlalchemy.exc import OperationalError

from harness.postgresql import new_postgresql_database
from harness.stoppable import stoppable_postgresql
from serving.storage import postgresql as silence
from serving.storage.database import Database

pytestmark = pytest.mark.process


def test_a_statement_that_is_not_answered_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an open connection, on one that is asked for its health first, on a new one; then all is as before."""
    monkeypatch.setattr(silence, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(silence, "_CONNECT_SECONDS", 2)
    with stoppable_postgresql() as server:
        database = Database(new_postgresql_database(server.uri))
        database.open()
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT 1")
            server.freeze()
            with pytest.raises(OperationalError, match="the database gave no answer for 1 s"):
                connection.exec_driver_sql("SELECT 1")
        for _ in range(2):
            with pytest.raises(OperationalError):
                database.check()
        server.thaw()
        database.check()
        database.close()


def test_a_process_that_freezes_in_a_transaction_keeps_no_row_for_long(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another finds the row locked, and a second later finds it free; what the frozen one wrote is not there."""
    monkeypatch.setattr(silence, "IDLE_SECONDS", 1.0)
    database = Database(new_postgresql_database(postgresql))
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE a (b INT)")
        connection.exec_driver_sql("INSERT INTO a VALUES (1)")
    free = "SELECT b FROM a FOR UPDATE SKIP LOCKED"

    def freeze() -> None:
        with database.writing() as frozen:
            frozen.exec_driver_sql("UPDATE a SET b = 2")
            with database.writing() as other:
                assert other.exec_driver_sql(free).all() == []
            time.sleep(1.5)
            with database.writing() as other:
                assert other.exec_driver_sql(free).all() == [(1,)]
            frozen.exec_driver_sql("SELECT 1")

    with pytest.raises(OperationalError, match="idle-in-transaction"):
        freeze()
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT b FROM a").all() == [(1,)]
    database.close()


def test_making_the_tables_may_take_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is not for `open`, which may have an index of a large table to make, and holds again after it."""
    monkeypatch.setattr(silence, "ANSWER_SECONDS", 0.5)
    with stoppable_postgresql() as server:
        database = Database(new_postgresql_database(server.uri))
        with database.writing() as connection, silence.unhurried(connection):
            connection.exec_driver_sql("SELECT pg_sleep(1)")
        with pytest.raises(OperationalError, match="no answer"), database.writing() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(1)")
        database.close()
