"""Job: how far a scan is, as its row in the database says it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, TypeVar

from sqlalchemy import Row

from scans.measures.statistics import OrganStatistics
from scans.model.drift import Departure
from scans.model.judgement import Judgement
from serving.observability import logs
from serving.observability.reasons import reason
from serving.queue.scan import Scan
from serving.storage.sealed import NoteDamaged, sealed, unsealed

Read = TypeVar("Read")
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

UNFINISHED: tuple[State, ...] = ("queued", "running")
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")


class Priority(IntEnum):
    """Which scans go first."""

    INTERACTIVE = 0
    """Somebody waits for it."""
    NORMAL = 1
    BACKLOG = 2
    """May wait until there is nothing else to do."""


@dataclass(frozen=True)
class Job:
    """How far a scan is."""

    state: State
    priority: Priority = Priority.NORMAL
    error: str | None = None
    """Why it failed, or why it is to be tried again."""
    failures: int = 0
    """Errors since the last finished slab."""
    slabs_done: int = 0
    slices_per_second: float | None = None
    """Of the latest slabs; None until two are finished."""
    finished_seconds: float | None = None
    """When it ended, seconds since 1970."""
    statistics: OrganStatistics | None = None
    """Of the whole scan, once it succeeded."""
    judgement: Judgement | None = None
    """Of the whole scan, once it succeeded."""
    warnings: tuple[Departure, ...] = ()
    """How the scan is unlike what its model has seen; what its segmentation shows of it, once all of it is there."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Of the files of the result that are written, by name."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds by activity: read, wait, infer, write."""
    worker: str | None = None
    """The process that works, or worked, on it."""


@contextmanager
def whole(row: Row[Any], *, of: str = "") -> Iterator[str]:
    """Reads a row within, of the table of scans where it is not said `of` what: gives what messages call it.

    Raises NoteDamaged for what is in it.
    """
    of = of or f"scan {row.id}"
    try:
        yield of
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NoteDamaged(of, reason(error)) from error


def scan_of(row: Row[Any]) -> Scan:
    """From a row of the table of scans, with its id and content. Raises NoteDamaged."""
    with whole(row) as of:
        return Scan.from_dict(unsealed(row.content, of=of))


def scan_and_job(row: Row[Any]) -> tuple[Scan, Job]:
    """All that a row of the table of scans says. Raises NoteDamaged."""
    return scan_of(row), job_of(row)


def each_whole(rows: Iterable[Row[Any]], read: Callable[[Row[Any]], Read]) -> Iterator[Read]:
    """What each row says, but for damaged ones, which the log names."""
    for row in rows:
        try:
            yield read(row)
        except NoteDamaged as damaged:
            logs.event("row_damaged", level=logging.ERROR, scan=row.id, error=damaged)


def job_of(row: Row[Any]) -> Job:
    """From a row of the table of scans. Raises NoteDamaged."""
    ended = row.state == "succeeded" and row.statistics
    with whole(row) as of:
        return Job(
            state=row.state,
            priority=Priority(row.priority),
            error=row.error,
            failures=row.failures,
            slabs_done=row.slabs_done,
            slices_per_second=row.rate,
            finished_seconds=row.finished,
            statistics=OrganStatistics.from_dict(unsealed(row.statistics, of=of)) if ended else None,
            judgement=Judgement.from_dict(unsealed(row.judgement, of=of)) if ended and row.judgement else None,
            warnings=tuple(Departure(**warning) for warning in unsealed(row.warnings or "[]", of=of)),
            checksums=dict(unsealed(row.checksums, of=of)) if row.checksums else {},
            timings=dict(unsealed(row.timings, of=of)) if row.timings else {},
            worker=row.owner,
        )


def warnings_text(warnings: Sequence[Departure]) -> str | None:
    """As they stand in the database."""
    return sealed([warning.to_dict() for warning in warnings]) if warnings else None
