"""What counts as a full disk, and what as a store that is away."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import psycopg
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from sqlalchemy.exc import OperationalError

from serving.storage import StoreError
from serving.storage.failures import is_away, is_full
from serving.storage.reserve import Reserve


def raised_from(cause: BaseException) -> StoreError:
    error = StoreError("the store cannot be written")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_is_full(number: int) -> None:
    """By the system's number, be it raised or what something was raised from; by PostgreSQL's own state."""
    assert is_full(OSError(number, "x")) and is_full(raised_from(OSError(number, "x")))
    assert is_full(OperationalError("UPDATE", {}, psycopg.errors.DiskFull("could not extend file")))
    assert not is_full(OperationalError("UPDATE", {}, psycopg.OperationalError("the connection is lost")))


def test_a_full_sqlite_is_full() -> None:
    """SQLite says so by a number of its own."""
    with sqlite3.connect(":memory:") as connection:
        connection.execute("PRAGMA max_page_count = 3")
        connection.execute("CREATE TABLE t (x)")
        with pytest.raises(sqlite3.OperationalError) as refused:
            connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.close()
    assert is_full(refused.value) and is_full(OperationalError("INSERT", {}, refused.value))


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOENT, errno.ESTALE, errno.EIO, errno.EACCES, errno.ENOTCONN])
def test_what_the_system_says_of_files_means_a_store_that_is_away(number: int) -> None:
    """Whatever it is; so do the errors of the library of S3, and no others."""
    assert is_away(OSError(number, "x")) and not is_full(OSError(number, "x"))
    assert is_away(EndpointConnectionError(endpoint_url="http://127.0.0.1:1")) and is_away(ClientError({}, "GetObject"))
    assert not is_away(ValueError("x"))


def test_a_reserve_is_given_back_once(tmp_path: Path) -> None:
    """And taken again later."""
    file = tmp_path / "jobs.sqlite-reserve"
    reserve = Reserve(file)
    assert not reserve.release()
    reserve.keep()
    held = file.stat().st_blocks
    assert held > 0 and reserve.release() and not reserve.release()
    assert file.stat().st_blocks == 0
    reserve.keep()
    assert file.stat().st_blocks == held
