"""Progress: how far a scan is, from what the database says of it, so that it is true after any restart."""

from __future__ import annotations

from dataclasses import dataclass

from serving.queue.jobs import Job
from serving.queue.scan import Scan


@dataclass(frozen=True)
class Progress:
    """Slices, and how fast they come."""

    slices_done: int
    slices_total: int
    slices_per_second: float | None
    """Of the latest slabs; None until two are finished."""
    eta_seconds: float | None
    """Until the last slab, at that rate; None while the scan is not running."""


def progress_of(scan: Scan, job: Job) -> Progress:
    """From a scan and its job."""
    total = scan.shape[0]
    done = min(job.slabs_done * scan.slab_slices, total)
    rate = job.slices_per_second
    running = job.state == "running" and rate is not None
    return Progress(done, total, rate, (total - done) / rate if running and rate else None)
