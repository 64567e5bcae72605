"""Janitor: removes scans with all their files, those that were asked for and those that are too old."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from serving.observability import logs
from serving.observability.reasons import reason
from serving.queue.jobs import Jobs, ScanNotFound
from serving.storage import Store

ROUND_SECONDS = 30.0
_DAY_SECONDS = 86400.0


class Janitor:
    """Row hidden, files gone, row gone: in this order, so that a removal that was cut off is finished later."""

    def __init__(
        self, *, store: Store, jobs: Jobs, retention_days: float | None, round_seconds: float = ROUND_SECONDS
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._retention_days = retention_days
        self._round_seconds = round_seconds
        self._also: list[tuple[str, Callable[[], object]]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="janitor")

    def also(self, task: Callable[[], object], *, name: str = "also") -> None:
        """Has something else looked after in every round, whatever becomes of the rest; the log calls it `name`."""
        self._also.append((name, task))

    def remove(self, scan_id: str) -> None:
        """Cancels a scan and removes all of it. Raises ScanNotFound."""
        self._jobs.remove(scan_id)
        self._clear(scan_id)
        logs.event("scan_removed", scan=scan_id)

    def sweep(self, *, starting: bool = False, alone: bool = False) -> None:
        """One round: finishes removals that were cut off, then removes what is too old; see `Jobs.leftovers`.

        What fails is logged, and keeps nothing else from being done: the next round tries it again. Raises
        SQLAlchemyError where the database does not say what is left of an earlier process, which is asked once.
        """
        if starting:
            self._clear_all(self._jobs.leftovers(starting=True, alone=alone))
        self._attempt("store", self._store.sweep)
        self._attempt("leftovers", lambda: self._clear_all(self._jobs.leftovers()))
        if (days := self._retention_days) is not None:
            self._attempt("retention", lambda: self._retire_all(self._jobs.older_than(days * _DAY_SECONDS)))
        for name, task in self._also:
            self._attempt(name, task)

    def start(self) -> None:
        """Begins its rounds."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False if its thread has ended although it was not told to stop."""
        return self._stopping.is_set() or self._thread.is_alive()

    def stop(self) -> None:
        """Ends after the removal under way."""
        self._stopping.set()
        self._thread.join()

    def _clear_all(self, scan_ids: Iterable[str]) -> None:
        for scan_id in scan_ids:
            self._attempt("removal", partial(self._clear, scan_id), scan=scan_id)

    def _retire_all(self, scan_ids: Iterable[str]) -> None:
        for scan_id in scan_ids:
            self._attempt("retention", partial(self._retire, scan_id), scan=scan_id)

    def _retire(self, scan_id: str) -> None:
        with contextlib.suppress(ScanNotFound):  # whoever sent it has removed it meanwhile
            self.remove(scan_id)

    def _clear(self, scan_id: str) -> None:
        self._store.remove(scan_id)
        self._jobs.forget([scan_id])

    def _attempt(self, name: str, task: Callable[[], object], **fields: str) -> None:
        try:
            task()
        except Exception as error:  # whatever it is, the next task and the next round are worth having
            expected = isinstance(error, OSError | SQLAlchemyError)
            why = {"doing": name, "error": reason(error), **fields}
            logs.event("janitor_failed", level=logging.ERROR, exc_info=not expected, **why)

    def _rounds(self) -> None:
        while not self._stopping.wait(self._round_seconds):
            self.sweep()
