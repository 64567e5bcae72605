"""Job: how far a scan is, as its row in the database says it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

from sqlalchemy import Row

from scans.measures.statistics import OrganStatistics
from scans.model.drift import Departure
from scans.model.judgement import Judgement

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


def job_of(row: Row[Any]) -> Job:
    """From a row of the table of scans."""
    whole = row.state == "succeeded" and row.statistics
    return Job(
        state=row.state,
        priority=Priority(row.priority),
        error=row.error,
        failures=row.failures,
        slabs_done=row.slabs_done,
        slices_per_second=row.rate,
        finished_seconds=row.finished,
        statistics=OrganStatistics.from_dict(json.loads(row.statistics)) if whole else None,
        judgement=Judgement.from_dict(json.loads(row.judgement)) if whole and row.judgement else None,
        warnings=tuple(Departure(**warning) for warning in json.loads(row.warnings or "[]")),
        checksums=json.loads(row.checksums) if row.checksums else {},
        timings=json.loads(row.timings) if row.timings else {},
        worker=row.owner,
    )


def warnings_text(warnings: Sequence[Departure]) -> str | None:
    """As they stand in the database."""
    return json.dumps([warning.to_dict() for warning in warnings]) if warnings else None
