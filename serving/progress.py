"""Progress: how far a scan is, read from what is on disk and in the database, so that it is true after any restart."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Collection
from dataclasses import dataclass

from serving.jobs import Job
from serving.scan import Scan

_RECENT_SLABS = 16


@dataclass(frozen=True)
class Progress:
    """Slices, and how fast they come."""

    slices_done: int
    slices_total: int
    slices_per_second: float | None
    """Of the latest slabs; None until two are finished."""
    eta_seconds: float | None
    """Until the last slab, at that rate; None while the scan is not running."""


def progress_of(scan: Scan, job: Job, finished: dict[int, float]) -> Progress:
    """From a scan, its job, and the slabs on disk with the time at which each was written."""
    total = scan.shape[0]
    done = total if job.state == "succeeded" else sum(_slices(scan, start) for start in finished)
    rate = _rate(scan, finished.values())
    running = job.state == "running" and rate is not None
    return Progress(done, total, rate, (total - done) / rate if running and rate else None)


def _slices(scan: Scan, start: int) -> int:
    return min(scan.slab_slices, scan.shape[0] - start)


def _rate(scan: Scan, written: Collection[float]) -> float | None:
    """From the median time between slabs: a pause of the server in the middle does not count."""
    times = sorted(written)[-_RECENT_SLABS:]
    seconds = [later - earlier for earlier, later in itertools.pairwise(times)]
    median = statistics.median(seconds) if seconds else 0.0
    return scan.slab_slices / median if median > 0 else None
