"""Stopwatch: where the time of a scan goes, by what it is spent on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.observability.observer import Observer

ACTIVITIES = ("read", "wait for read", "prepare", "infer", "wait for write", "judge", "write")
"""By the reader, four in turn by the thread that feeds the device, and two by the writer."""


@dataclass
class Stopwatch:
    """Seconds by activity. Each is added to by one thread alone."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ACTIVITIES, 0.0))
    observer: Observer = field(default_factory=Observer)

    @contextmanager
    def measuring(self, activity: str) -> Iterator[None]:
        """Adds the time that the context takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.seconds[activity] += spent
            self.observer.time_spent(activity, spent)
