"""Finding: what was seen of one thing, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from scans.addresses import without_passwords
from serving.observability.probes import Probe, Unanswered
from serving.observability.reasons import first_line


class Level(Enum):
    """How bad it is."""

    OK = "OK"
    WARN = "WARN"
    """A server starts, but somebody should know."""
    FAIL = "FAIL"
    """A server does not start, or cannot do its work."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    level: Level
    found: str
    advice: str = ""
    """What to do about it; empty where there is nothing to do."""
    seconds: float = 0.0
    """That looking took."""


@dataclass(frozen=True)
class Observed:
    """What a look says: OK unless it says otherwise."""

    found: str
    level: Level = Level.OK
    advice: str = ""


def look(name: str, at: Callable[[], Observed], *, advice: str, limit_seconds: float = 30.0) -> Finding:
    """A finding; FAIL with the error and the advice where the look raises or does not end."""
    began = time.perf_counter()
    try:
        seen = Probe(at, most_age_seconds=0.0, limit_seconds=limit_seconds).ask()
    except Unanswered as error:
        seen = Observed(str(error), Level.FAIL, advice)
    except Exception as error:  # whatever is wrong, the rest of the report is worth having
        seen = Observed(first_line(error), Level.FAIL, advice)
    return Finding(name, seen.level, without_passwords(seen.found), seen.advice, time.perf_counter() - began)
