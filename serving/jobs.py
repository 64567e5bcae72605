"""Jobs: a scan is a durable workflow, a slab of slices one step of it. The only file that imports DBOS.

A step's result is recorded once its chunk is on disk. A server that was killed finds its unfinished workflows when it
starts again, takes the recorded steps as done, and goes on at the first one that is not.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID, StepOptions, WorkflowStatus

from scans.formats import FormatError, open_volume
from scans.geometry import Box
from scans.statistics import OrganStatistics
from serving import logs
from serving.models import ModelError, Models
from serving.scan import Scan
from serving.segmentation import SegmentationArray
from serving.segmenter import SlabReader, segment_box
from serving.store import Store

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

QUEUE = "scans"
WORKFLOW = "segment_scan"
EXECUTOR = "server"
"""Stable, so that a server that starts again finds what it left unfinished."""
APPLICATION_VERSION = "1"
"""Of the sequence of steps, not of the code: raised only when an old job could no longer be finished as it began."""
_POLLING_SECONDS = 0.2
_RECOVERIES = 50

_STATES: dict[str, State] = {
    "DELAYED": "queued",
    "ENQUEUED": "queued",
    "PENDING": "running",
    "SUCCESS": "succeeded",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}


class _Stopping(BaseException):
    """The server stops between two slabs. Not an Exception: DBOS leaves the workflow unfinished, for the next start."""


@dataclass(frozen=True)
class Job:
    """How far a scan's workflow is."""

    state: State
    error: str | None = None
    """Why it failed."""
    finished_seconds: float | None = None
    """When it ended, seconds since 1970."""
    statistics: OrganStatistics | None = None
    """Of the whole scan, once it succeeded."""


class Jobs:
    """The queue of scans and the workflow that takes one after the other. DBOS allows one of these per process."""

    def __init__(self, *, store: Store, models: Models, database_url: str) -> None:
        self._store = store
        self._models = models
        self._database_url = database_url
        self._stopping = threading.Event()
        self._running: dict[str, threading.Event] = {}
        """Per scan under way in this process, an event set once nothing of it is written any more."""

    def start(self) -> None:
        """Opens the database, goes on with unfinished scans and takes up what was accepted but not yet queued."""
        config: DBOSConfig = {
            "name": "ricefish",
            "system_database_url": self._database_url,
            "application_version": APPLICATION_VERSION,
            "executor_id": EXECUTOR,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
        }
        logging.getLogger("dbos").addFilter(_news)
        DBOS(config=config)

        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=_RECOVERIES)
        def workflow(scan_id: str) -> dict[str, Any]:
            return self._segment_scan(scan_id)

        self._workflow = workflow
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=_POLLING_SECONDS)
        stored = {scan.id for scan in self._store.scans()}
        known = {status.workflow_id for status in _statuses(None)}
        if known - stored:
            DBOS.delete_workflows(sorted(known - stored))
        for scan_id in sorted(stored - known):
            self.enqueue(scan_id)

    def stop(self) -> None:
        """Lets the running slab finish; its scan goes on at the next start."""
        self._stopping.set()
        for idle in list(self._running.values()):
            idle.wait()
        DBOS.destroy(destroy_registry=True)

    def enqueue(self, scan_id: str) -> None:
        """Queues an accepted scan, durably; once only, however often it is called."""
        with SetWorkflowID(scan_id):
            DBOS.enqueue_workflow(QUEUE, self._workflow, scan_id)

    def jobs(self, scan_ids: Iterable[str]) -> dict[str, Job]:
        """The job of each scan that has one."""
        return {status.workflow_id: _job(status) for status in _statuses(list(scan_ids))}

    def job(self, scan_id: str) -> Job:
        """The job of a scan; one that is accepted and about to be queued is queued."""
        return self.jobs([scan_id]).get(scan_id, Job("queued"))

    def unfinished(self) -> list[str]:
        """Ids of the scans that are queued or running."""
        return [status.workflow_id for status in _statuses(None) if _STATES[status.status] in ("queued", "running")]

    def cancel(self, scan_id: str) -> None:
        """Cancels a scan; when this returns, no slab of it is under way."""
        DBOS.cancel_workflow(scan_id)
        if idle := self._running.get(scan_id):
            idle.wait()

    def forget(self, scan_id: str) -> None:
        """Drops all that the database holds of a cancelled or ended scan."""
        DBOS.delete_workflow(scan_id)

    def _segment_scan(self, scan_id: str) -> dict[str, Any]:
        idle = self._running[scan_id] = threading.Event()
        try:
            scan = self._store.scan(scan_id)
            statistics = self._segment_slabs(scan)
            logs.event("scan_succeeded", scan=scan_id)
            return statistics.to_dict()
        except Exception as error:
            expected = isinstance(error, FormatError | ModelError)
            logs.event("scan_failed", level=logging.ERROR, exc_info=not expected, scan=scan_id, error=error)
            raise
        finally:
            idle.set()
            self._running.pop(scan_id, None)

    def _segment_slabs(self, scan: Scan) -> OrganStatistics:
        folder = self._store.folder_of(scan.id)
        model = self._models.of_scan(scan.model)
        array = SegmentationArray.open(folder, slab_slices=scan.slab_slices)
        boxes = scan.boxes
        total = OrganStatistics.empty(scan.organs.classes)
        with ExitStack() as stack:
            volume = stack.enter_context(open_volume(folder / scan.volume, spacing=scan.upload.spacing))
            reader = stack.enter_context(SlabReader(volume, boxes))

            def segment(number: int, box: Box) -> dict[str, Any]:
                statistics = segment_box(box, scan=scan, model=model, reader=reader, array=array)
                logs.event("slab_finished", scan=scan.id, slab=number, slabs=len(boxes), slices=box.shape[0])
                return statistics.to_dict()

            for number, box in enumerate(boxes):
                if self._stopping.is_set():
                    raise _Stopping
                step = StepOptions(name=f"slab_{number}")
                total += OrganStatistics.from_dict(DBOS.run_step(step, segment, number, box))
        return total


def _news(record: logging.LogRecord) -> bool:
    """Drops what DBOS logs of a workflow that ended in an error or was cancelled: `scan_failed` says it already."""
    return not record.getMessage().startswith("Exception encountered in background workflow")


def _statuses(scan_ids: list[str] | None) -> list[WorkflowStatus]:
    return DBOS.list_workflows(name=WORKFLOW, workflow_ids=scan_ids, load_input=False)


def _job(status: WorkflowStatus) -> Job:
    state = _STATES[status.status]
    error = str(status.error) if status.error else None
    if status.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        error = f"the server ended {_RECOVERIES} times while it was at this scan; its log says why"
    return Job(
        state=state,
        error=error if state == "failed" else None,
        finished_seconds=status.completed_at / 1000 if status.completed_at else None,
        statistics=OrganStatistics.from_dict(status.output) if status.output else None,
    )
