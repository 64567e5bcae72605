"""Finished scans: what has to be so before anything that came of a scan is handed out, and what its file is called."""

from __future__ import annotations

from urllib.parse import quote

from serving.api.dependencies import Resources
from serving.api.problems import NoResult, NotFinished
from serving.observability.reasons import without_paths
from serving.queue.jobs import Job, Jobs
from serving.queue.scan import Scan


def finished(resources: Resources, scan_id: str, *, of: Jobs | None = None) -> tuple[Scan, Job]:
    """A scan that is segmented; of the caller's, or of others. Raises ScanNotFound, NotFinished and NoResult."""
    scan, job = (of or resources.jobs).get(scan_id)
    if job.state in ("queued", "running"):
        raise NotFinished(f"scan {scan_id} is {job.state}; its state is at /v1/scans/{scan_id}")
    if job.state != "succeeded":
        raise NoResult(f"scan {scan_id} is {job.state}: {without_paths(job.error or 'it was cancelled')}")
    return scan, job


def disposition(name: str) -> str:
    """The Content-Disposition of a file of that name, exactly and for those who read ASCII only."""
    plain = name.encode("ascii", "replace").decode().replace('"', "_").replace("\\", "_").replace("?", "_")
    exact = quote(name, safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"
