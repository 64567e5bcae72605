"""Tally: what an attack did, how often, and what it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_LISTED = 200
"""Findings of one attack that are kept; more are counted."""


@dataclass(frozen=True)
class Finding:
    """Something that must not be."""

    what: str
    """In one line."""
    repeat: str
    """A command, or a file with what was sent, that shows it again."""


@dataclass
class Tally:
    """Of one attack."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    """Findings, also those beyond the list."""
    worst: dict[str, float] = field(default_factory=dict)
    """The largest that was seen: seconds of a stall, bytes above idle; by what it is of."""

    def count(self, what: str, number: int = 1) -> None:
        """So many more of something."""
        self.counts[what] += number

    def find(self, what: str, repeat: str) -> None:
        """Something that must not be was seen."""
        self.found += 1
        if len(self.findings) < MOST_LISTED:
            self.findings.append(Finding(what, repeat))

    def measure(self, what: str, value: float) -> None:
        """Keeps the largest value."""
        self.worst[what] = max(value, self.worst.get(what, value))

    def as_json(self) -> dict[str, Any]:
        """For the file of counts."""
        return {
            "name": self.name,
            "counts": dict(sorted(self.counts.items())),
            "worst": {name: round(value, 3) for name, value in sorted(self.worst.items())},
            "found": self.found,
            "findings": [{"what": one.what, "repeat": one.repeat} for one in self.findings],
        }


@dataclass(frozen=True)
class Arena:
    """Where an attack takes place."""

    folder: Path
    """Its own, and empty; removed afterwards."""
    kept: Path
    """Where files go that repeat a finding."""
    seed: int
    model: Path
    """A folder with a small segmentation model."""
    say: Callable[[str], None]
    """Told of the progress, a line at a time."""
    real: Path | None = None
    """A folder of real files to begin from as well."""

    def keep(self, name: str, content: bytes) -> Path:
        """Saves what was sent, under that name."""
        self.kept.mkdir(parents=True, exist_ok=True)
        path = self.kept / name
        path.write_bytes(content)
        return path
