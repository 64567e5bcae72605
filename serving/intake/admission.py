"""Admission: whether one more scan may wait, asked before a byte of it is read; else for how long to stay away.

A scan is judged by what would go before it: what waits that is as urgent as itself or more so. So a full backlog keeps
no ordinary scan out, and neither keeps the scan out that somebody waits for.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from serving.inference.backpressure import UNKNOWN_SECONDS, Limit, QueueFull
from serving.observability.probes import Probe
from serving.observability.readiness import PATIENT_SECONDS
from serving.queue.jobs import Priority
from serving.queue.load import Load, Waiting

_AGE_SECONDS = 1.0
"""What the database said of the queue counts for so long."""


@dataclass(frozen=True)
class QueueLimits:
    """How much may wait, of one priority with the more urgent ones."""

    scans: int
    bytes: int
    """Of the scans' files."""
    age_seconds: float
    """Of the scan that has waited for longest."""


@dataclass(eq=False)
class Place:
    """A scan that was let in here and is not counted by the database yet."""

    priority: Priority
    bytes: int
    arrived: float | None = None
    """When it was queued, by `time.monotonic`; None while it is on its way."""


@dataclass
class Admission:
    """The gate of one server process. For one event loop."""

    measure: Callable[[], Load]
    limits: QueueLimits
    _arrivals: list[Place] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._load = Probe(self.measure, most_age_seconds=_AGE_SECONDS, limit_seconds=PATIENT_SECONDS)

    async def check(self, priority: Priority, size: int = 0, *, but: Place | None = None) -> None:
        """Raises QueueFull where a scan with a file of `size` bytes (0: not known) may not wait as well.

        `but` is a place that does not count, as the scan has it. Raises Unanswered or SQLAlchemyError where the
        database cannot be asked.
        """
        load = await self._load.ask_async()
        self._arrivals = [one for one in self._arrivals if one.arrived is None or one.arrived > load.asked]
        arriving = [one for one in self._arrivals if one.priority <= priority and one is not but]
        mean = _mean_voxels(load)
        on_their_way = Waiting(len(arriving), sum(one.bytes for one in arriving), len(arriving) * mean)
        waiting = load.before(priority) + on_their_way
        reached = _reached(waiting, self.limits, size)
        if reached is not None:
            limit, share = reached
            work = max(share * waiting.voxels, mean)
            seconds = work / load.voxels_per_second if load.voxels_per_second and work else UNKNOWN_SECONDS
            raise _full(limit, waiting, self.limits, size=size, seconds=seconds)

    @asynccontextmanager
    async def taking(self, priority: Priority, size: int = 0) -> AsyncIterator[Place]:
        """Holds a place in the queue for the scan that is taken in meanwhile. Raises as `check`."""
        await self.check(priority, size)
        arrival = Place(priority, size)
        self._arrivals.append(arrival)
        try:
            yield arrival
        except BaseException:
            self._arrivals.remove(arrival)
            raise
        arrival.arrived = time.monotonic()

    async def move(self, place: Place, priority: Priority) -> None:
        """Gives a scan on its way in another priority. Raises as `check`, for the place that it then has."""
        await self.check(priority, place.bytes, but=place)
        place.priority = priority


def _mean_voxels(load: Load) -> float:
    """Of a scan, as far as is known."""
    waiting = load.before(Priority.BACKLOG)
    return (waiting.voxels + load.running_voxels) / max(1, waiting.scans + load.running_scans)


def _reached(waiting: Waiting, limits: QueueLimits, size: int) -> tuple[Limit, float] | None:
    """The limit that keeps a scan out, and the share of what waits that has to go first; None if there is room."""
    if not waiting.scans:  # a scan larger than the limit has to be possible
        return None
    if waiting.scans >= limits.scans:
        return "scans", (waiting.scans - limits.scans + 1) / waiting.scans
    if waiting.bytes + size > limits.bytes:
        return "bytes", min(1.0, (waiting.bytes + size - limits.bytes) / max(1, waiting.bytes))
    if waiting.oldest_seconds > limits.age_seconds:
        return "age", 1 - limits.age_seconds / waiting.oldest_seconds
    return None


def _full(limit: Limit, waiting: Waiting, limits: QueueLimits, *, size: int, seconds: float) -> QueueFull:
    message, amount, most = {
        "scans": (
            f"{waiting.scans} scans wait already, and {limits.scans} may (RICEFISH_QUEUE_SCANS)",
            waiting.scans,
            limits.scans,
        ),
        "bytes": (
            f"scans of {waiting.bytes} bytes wait already and this one has {size or 'more'}, where {limits.bytes} may "
            "(RICEFISH_QUEUE_BYTES)",
            waiting.bytes,
            limits.bytes,
        ),
        "age": (
            f"a scan has waited for {waiting.oldest_seconds:.0f} s, and may for {limits.age_seconds:.0f} s "
            "(RICEFISH_QUEUE_AGE_SECONDS)",
            round(waiting.oldest_seconds),
            round(limits.age_seconds),
        ),
    }[limit]
    return QueueFull(message, limit=limit, waiting=amount, most=most, seconds=seconds)
