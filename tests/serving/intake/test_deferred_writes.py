"""What could not be written during an outage is written after it, each for itself."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from serving.intake.deferred_writes import DeferredWrites


def test_one_write_that_is_never_taken_holds_up_no_other() -> None:
    """The database refuses one for good: those after it are written, and who accepts a scan is not kept from it."""
    deferred, written = DeferredWrites(), list[str]()

    def never() -> None:
        raise IntegrityError("insert", {}, ValueError("a bug"))

    deferred.defer(never)
    deferred.defer(lambda: written.append("second"))
    deferred.retry()
    deferred.retry()
    assert written == ["second"]


def test_a_database_that_is_away_is_told() -> None:
    """Nothing is lost of what waits, and its order is kept."""
    deferred, written = DeferredWrites(), list[str]()
    away = True

    def first() -> None:
        if away:
            raise OperationalError("update", {}, ConnectionError("gone"))
        written.append("first")

    deferred.defer(first)
    deferred.defer(lambda: written.append("second"))
    with pytest.raises(OperationalError):
        deferred.retry()
    assert written == []
    away = False
    deferred.retry()
    assert written == ["first", "second"]
