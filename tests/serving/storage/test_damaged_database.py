"""A database file with a bit that is another: the doctor names it, and nobody ends with a traceback."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from serving.observability.findings import Level
from serving.process.diagnosis.store_audit import audit
from serving.storage.database import Database, DatabaseError

_ROW = {"id": "0" * 32, "created": 1.0, "sha256": "a", "model_key": "b", "priority": 1, "state": "succeeded"}
_COUNTS = {"not_before": 0.0, "failures": 0, "starts": 0, "epoch": 1, "slabs_done": 1}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose database has the row of one scan, the text of which is no UTF-8."""
    (tmp_path / "scans").mkdir()
    database = Database(f"sqlite:///{tmp_path}/jobs.sqlite")
    database.open()
    database.close()
    row = {**_ROW, **_COUNTS}
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as connection, connection:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(
            f"INSERT INTO ricefish_scans ({names}, content) VALUES ({marks}, CAST(x'7b22c3227d' AS TEXT))",  # noqa: S608
            tuple(row.values()),
        )
    return tmp_path


def change_schema(store: Path, old: bytes, new: bytes) -> None:
    """As a flipped bit in the page of the schema would."""
    path = store / "jobs.sqlite"
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def found(store: Path) -> dict[str, str]:
    """What the doctor says is wrong, by where."""
    return {one.name: one.found for one in audit(store=store) if one.level is Level.FAIL and one.name != "store"}


def test_a_text_that_is_none_is_a_damaged_row(store: Path) -> None:
    """It is named with its scan and the database."""
    said = found(store)[f"scan {'0' * 32}, its row"]
    assert "is damaged" in said and "jobs.sqlite" in said


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [(b"slabs INTEGER", b"rlabs INTEGER", "'rlabs' of 'INTEGER'"), (b"voxels BIGINT", b"voxels BIGMNT", "'BIGMNT'")],
)
def test_a_column_that_no_version_makes_is_named(store: Path, old: bytes, new: bytes, column: str) -> None:
    """Its name, or its type."""
    change_schema(store, old, new)
    assert column in found(store)["database"]


def test_a_schema_that_cannot_be_read_is_the_databases_fault(store: Path) -> None:
    """With its file, and not as a fault of settings."""
    change_schema(store, b"CREATE TABLE ricefish_marks", b"CREATE TABL\xc5 ricefish_marks")
    with pytest.raises(DatabaseError, match=r"jobs\.sqlite.* cannot be used"):
        Database(f"sqlite:///{store}/jobs.sqlite").open()
    assert "jobs.sqlite" in found(store)["database"]
