"""Janitor: removes scans with all their files, those that were asked for and those that are too old."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from serving.observability import logs
from serving.observability.reasons import reason
from serving.queue.jobs import Jobs
from serving.storage import Store

ROUND_SECONDS = 30.0
_DAY_SECONDS = 86400.0


class Janitor:
    """Row hidden, files gone, row gone: in this order, so that a removal that was cut off is finished later."""

    def __init__(self, *, store: Store, jobs: Jobs, retention_days: float | None) -> None:
        self._store = store
        self._jobs = jobs
        self._retention_days = retention_days
        self._also: list[Callable[[], None]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="janitor")

    def also(self, expire: Callable[[], None]) -> None:
        """Has something else looked after in every round."""
        self._also.append(expire)

    def remove(self, scan_id: str) -> None:
        """Cancels a scan and removes all of it. Raises ScanNotFound."""
        self._jobs.remove(scan_id)
        self._clear(scan_id)
        logs.event("scan_removed", scan=scan_id)

    def sweep(self, *, starting: bool = False, alone: bool = False) -> None:
        """One round: finishes removals that were cut off, then removes what is too old; see `Jobs.leftovers`."""
        self._store.sweep()
        for scan_id in self._jobs.leftovers(starting=starting, alone=alone):
            self._clear(scan_id)
        if self._retention_days is not None:
            for scan_id in self._jobs.older_than(self._retention_days * _DAY_SECONDS):
                self.remove(scan_id)
        for expire in self._also:
            expire()

    def start(self) -> None:
        """Begins its rounds."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the removal under way."""
        self._stopping.set()
        self._thread.join()

    def _clear(self, scan_id: str) -> None:
        self._store.remove(scan_id)
        self._jobs.forget([scan_id])

    def _rounds(self) -> None:
        while not self._stopping.wait(ROUND_SECONDS):
            try:
                self.sweep()
            except (SQLAlchemyError, OSError) as error:
                logs.event("janitor_failed", level=logging.ERROR, error=reason(error))
