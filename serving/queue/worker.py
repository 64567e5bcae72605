"""Worker: takes scans from the queue, keeps their leases, and has them segmented, several at once."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from sqlalchemy.exc import SQLAlchemyError

from scans.formats import FormatError
from serving.models.served import ModelError
from serving.observability import logs
from serving.observability.observer import Observer
from serving.observability.reasons import reason
from serving.queue.jobs import Priority
from serving.queue.leases import FinishedSlabs, Lease, Leases
from serving.storage import DataDamaged, Fenced
from serving.storage.fenced_table import LeaseLost

_POLLING_SECONDS = 0.25
_WATCHING_SECONDS = 0.5
_RECOVERING_SECONDS = 1.0

FINAL = (FormatError, ModelError, MemoryError)
"""Errors that would come again, however often the scan is tried."""


_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE})
"""Errors for which no scan can be blamed."""


class Interrupted(Exception):
    """The scan stops here, unfinished: this process stops, or the scan is no longer its own."""


class Ending(Enum):
    """How work on a scan ends."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PARKED = "parked"
    """Given back unfinished, as this process stops."""
    POSTPONED = "postponed"
    """Queued again after an error that may pass."""
    LOST = "lost"
    """Cancelled, removed or taken up by another."""
    DATABASE = "database"
    """The database did not answer."""

    @property
    def final(self) -> bool:
        """True where the scan has ended, not only the work on it."""
        return self in (Ending.SUCCEEDED, Ending.FAILED, Ending.CANCELLED)


@dataclass
class Run:
    """One lease being worked on: what a segmenter asks and tells."""

    lease: Lease
    _leases: Leases
    _stop: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Called between batches. Raises Interrupted when the scan is to stop."""
        if self._stop.is_set():
            raise Interrupted

    def interrupt(self) -> None:
        """Lets `check` raise from now on."""
        self._stop.set()

    def commit(self, done: FinishedSlabs) -> None:
        """Writes down that slabs are in the store. Raises LeaseLost."""
        self._leases.commit(self.lease, done)
        scan, slab = self.lease.scan, done.slabs_done - 1
        logs.event("slab_finished", scan=scan.id, slab=slab, slabs=len(scan.boxes))

    def begin_anew(self, why: str) -> None:
        """Gives the scan back, to be made from its first slab: what is in the store is damaged. Raises LeaseLost."""
        self._leases.begin_anew(self.lease, why)


class Worker:
    """The threads of one process that work on the queue: one that takes, one that keeps leases, one per scan."""

    def __init__(
        self,
        leases: Leases,
        *,
        segment: Callable[[Run], None],
        concurrent_scans: int,
        attempts: int,
        check_store: Callable[[], object] = lambda: None,
        observer: Observer | None = None,
    ) -> None:
        """A scan is begun `attempts` times; a full disk, or that `check_store` raises, does not count.

        `observer` is told how the work on each scan ended.
        """
        self._check_store = check_store
        self._observer = observer or Observer()
        self._leases = leases
        self._segment = segment
        self._places = concurrent_scans
        self._attempts = attempts
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._runs: dict[str, tuple[Run, threading.Thread]] = {}
        self._threads = [
            threading.Thread(target=self._take_scans, name="scan-taker"),
            threading.Thread(target=self._keep_leases, name="lease-keeper"),
        ]

    def start(self) -> None:
        """Begins to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the batches under way and gives their scans back, each at the slab where it is."""
        self._stopping.set()
        self._wake.set()
        for run, _ in self._running():
            run.interrupt()
        for thread in self._threads:
            thread.join()
        for _, thread in self._running():
            thread.join()

    @property
    def alive(self) -> bool:
        """False if one of its own threads has ended although it was not told to stop."""
        return self._stopping.is_set() or all(thread.is_alive() for thread in self._threads)

    @property
    def busy(self) -> bool:
        """True while it works on a scan."""
        return bool(self._running())

    def look(self) -> None:
        """Looks at once for what is new in the queue, and for scans that are to stop."""
        self._wake.set()

    def _running(self) -> list[tuple[Run, threading.Thread]]:
        with self._lock:
            return list(self._runs.values())

    def _take_scans(self) -> None:
        while not self._stopping.is_set():
            try:
                self._let_go_of_lost()
                while self._take_one():
                    pass
            except Exception as error:  # without this thread, no scan would be taken any more
                _log_failure(error, doing="take")
                self._stopping.wait(_RECOVERING_SECONDS)
            self._wake.wait(_POLLING_SECONDS)
            self._wake.clear()

    def _take_one(self) -> bool:
        for priority in Priority:
            busy = sum(run.lease.priority == priority for run, _ in self._running())
            if busy >= self._places or self._stopping.is_set():
                continue
            lease = self._leases.take(priority)
            if lease is not None:
                self._begin(lease)
                return True
        return False

    def _begin(self, lease: Lease) -> None:
        run = Run(lease, self._leases)
        thread = threading.Thread(target=self._work, args=(run,), name=f"scan-{lease.scan.id[:8]}")
        with self._lock:
            self._runs[f"{lease.scan.id} {lease.epoch}"] = (run, thread)
        try:
            thread.start()
        except RuntimeError:  # the machine has no thread left: the scan goes back, and its place is free again
            self._forget(run)
            self._leases.park(lease)
            raise

    def _forget(self, run: Run) -> None:
        with self._lock:
            del self._runs[f"{run.lease.scan.id} {run.lease.epoch}"]
        self._wake.set()

    def _keep_leases(self) -> None:
        renewed = time.monotonic()
        while not self._stopping.wait(min(_WATCHING_SECONDS, self._leases.seconds / 5)):
            try:
                if time.monotonic() - renewed >= self._leases.seconds / 3:
                    asked = time.monotonic()
                    self._leases.renew([run.lease for run, _ in self._running()])
                    renewed = asked
                self._let_go_of_lost()
            except Exception as error:  # without this thread, every lease would run out
                _log_failure(error, doing="renew")
                if time.monotonic() - renewed > self._leases.seconds:
                    for run, _ in self._running():
                        run.interrupt()

    def _let_go_of_lost(self) -> None:
        runs = [run for run, _ in self._running()]
        if not runs:
            return
        kept = self._leases.still([run.lease for run in runs])
        for run in runs:
            if run.lease.scan.id not in kept:
                run.interrupt()

    def _work(self, run: Run) -> None:
        scan_id = run.lease.scan.id
        logs.bind(scan=scan_id)
        ending = Ending.DATABASE
        try:
            ending = self._end(run)
        except LeaseLost:
            ending = Ending.LOST
            logs.event("scan_let_go", scan=scan_id)
        except Exception as error:  # the lease runs out, and the scan is taken up again
            _log_failure(error, doing="end")
        finally:
            try:
                self._tell(ending, run)
            finally:
                self._forget(run)

    def _tell(self, ending: Ending, run: Run) -> None:
        self._observer.scan_ended(
            ending.value,
            final=ending.final,
            priority=run.lease.priority.name.lower(),
            seconds=max(0.0, time.time() - run.lease.scan.created_seconds) if ending is Ending.SUCCEEDED else None,
        )

    def _end(self, run: Run) -> Ending:
        scan_id = run.lease.scan.id
        try:
            self._segment(run)
        except Interrupted:
            self._leases.park(run.lease)
            logs.event("scan_parked", scan=scan_id)
            return Ending.PARKED
        except Fenced as error:
            return self._fenced(run, error)
        except (LeaseLost, SQLAlchemyError):
            raise
        except Exception as error:
            return self._failed(run, error)
        self._leases.succeed(run.lease)
        logs.event("scan_succeeded", scan=scan_id)
        return Ending.SUCCEEDED

    def _fenced(self, run: Run, error: Fenced) -> Ending:
        """Without its store, or its files there, a scan looks as if another had it."""
        scan_id = run.lease.scan.id
        if self._store_fails(error):
            return self._failed(run, error)
        if scan_id not in self._leases.still([run.lease]):
            raise LeaseLost from error
        return self._failed(run, DataDamaged(f"the files of scan {scan_id} are gone from the store; send it again"))

    def _failed(self, run: Run, error: Exception) -> Ending:
        scan_id, blameless = run.lease.scan.id, self._store_fails(error)
        if isinstance(error, FINAL) and not blameless:
            self._leases.fail(run.lease, str(error))
            logs.event("scan_failed", level=logging.ERROR, scan=scan_id, error=error)
            return Ending.FAILED
        why = reason(error)
        seconds = self._leases.postpone(run.lease, why, attempts=None if blameless else self._attempts)
        doing = "scan_failed" if seconds is None else "scan_postponed"
        logs.event(doing, level=logging.ERROR, exc_info=True, scan=scan_id, error=why, seconds=seconds or 0)
        return Ending.FAILED if seconds is None else Ending.POSTPONED

    def _store_fails(self, error: Exception) -> bool:
        """True where it is not this scan that fails: any other would now, and this one will not later."""
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            return True
        try:
            self._check_store()
        except Exception as wrong:
            logs.event("store_failed", level=logging.ERROR, error=reason(wrong))
            return True
        return False


def _log_failure(error: Exception, *, doing: str) -> None:
    away = isinstance(error, SQLAlchemyError)
    event = "database_failed" if away else "worker_failed"
    logs.event(event, level=logging.ERROR, exc_info=not away, doing=doing, error=reason(error))
