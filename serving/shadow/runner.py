"""ShadowWorker: the thread of a process that runs the shadow, one scan at a time, and fails nobody but itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import Enum

from sqlalchemy.exc import SQLAlchemyError

from scans.formats import FormatError
from serving.models.served import LoadedModel
from serving.observability import logs
from serving.observability.observer import Observer
from serving.observability.reasons import reason
from serving.queue.worker import Interrupted
from serving.shadow.agreement import NothingInCommon, OrganAgreement
from serving.shadow.comparison import Comparer, Comparison
from serving.shadow.comparison_queue import ShadowLease, ShadowQueue
from serving.storage.fenced_table import LeaseLost

_POLLING_SECONDS = 1.0
_FINAL = (FormatError, MemoryError, NothingInCommon)
"""Errors that would come again, however often it is tried."""


class ShadowEnding(Enum):
    """How work on a comparison ends."""

    COMPARED = "compared"
    SAME = "same"
    """The scan was answered by the shadow's model itself."""
    PARKED = "parked"
    """Given back unfinished, as this process stops."""
    POSTPONED = "postponed"
    """To be tried again after an error that may pass."""
    GIVEN_UP = "given_up"
    LOST = "lost"
    """The scan was removed, or another process has taken it up."""


class ShadowWorker:
    """Takes up comparisons while it is quiet. What fails here is logged and counted, and goes no further."""

    def __init__(
        self,
        queue: ShadowQueue,
        *,
        model: Callable[[], LoadedModel | None],
        comparer: Comparer,
        idle: Callable[[], bool],
        observer: Observer,
    ) -> None:
        """`model` gives the shadow, None while there is none; it may load it, and is called in this thread alone."""
        self._queue = queue
        self._model = model
        self._comparer = comparer
        self._idle = idle
        self._observer = observer
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="shadow")

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False if its thread has ended although it was not told to stop."""
        return self._stopping.is_set() or self._thread.is_alive()

    def stop(self) -> None:
        """Ends the batch under way and gives the comparison back, at the slab where it is."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._one():
                    continue
            except SQLAlchemyError as error:  # the lease runs out, and the comparison is taken up again
                logs.event("database_failed", level=logging.ERROR, doing="shadow", error=reason(error))
            except Exception:
                logs.event("shadow_failed", level=logging.ERROR, exc_info=True)
            self._stopping.wait(_POLLING_SECONDS)

    def _one(self) -> bool:
        """True if there was something to compare."""
        if not (self._idle() and self._queue.ready()):
            return False
        model = self._model()
        if model is None or not self._idle():
            return False
        lease = self._queue.take()
        if lease is None:
            return False
        ending = ShadowEnding.LOST
        try:
            ending = self._end(lease, model)
        except LeaseLost:
            logs.event("shadow_let_go", scan=lease.scan.id)
        self._observer.shadow_ended(ending.value)
        return True

    def _end(self, lease: ShadowLease, model: LoadedModel) -> ShadowEnding:
        scan_id, shadow = lease.scan.id, model.identity
        if lease.scan.model.key == shadow.key:
            self._queue.finish_as_same(lease, shadow=shadow)
            return ShadowEnding.SAME
        logs.event(
            "shadow_begun", scan=scan_id, slab=lease.slabs_done, model=shadow.name, version=shadow.version or "-"
        )
        try:
            agreement = self._comparer.compare(Comparison(lease, model, self._stopping))
        except Interrupted:
            self._queue.park(lease)
            logs.event("shadow_parked", scan=scan_id)
            return ShadowEnding.PARKED
        except (LeaseLost, SQLAlchemyError):
            raise
        except _FINAL as error:
            self._queue.give_up(lease, str(error))
            logs.event("shadow_given_up", level=logging.ERROR, scan=scan_id, error=error)
            return ShadowEnding.GIVEN_UP
        except Exception as error:
            why = reason(error)
            seconds = self._queue.postpone(lease, why)
            doing = "shadow_given_up" if seconds is None else "shadow_postponed"
            logs.event(doing, level=logging.ERROR, exc_info=True, scan=scan_id, error=why, seconds=seconds or 0)
            return ShadowEnding.GIVEN_UP if seconds is None else ShadowEnding.POSTPONED
        self._queue.finish(lease, shadow=shadow, agreement=agreement)
        self._tell(scan_id, agreement, model=shadow.name)
        return ShadowEnding.COMPARED

    def _tell(self, scan_id: str, agreement: OrganAgreement, *, model: str) -> None:
        scored = {organ: dice for organ, dice in agreement.dice.items() if dice is not None}
        for organ, dice in scored.items():
            self._observer.shadow_agreed(organ, dice, model=model)
        said = " ".join(f"{organ}={dice:.4f}" for organ, dice in scored.items())
        logs.event("shadow_compared", scan=scan_id, dice=said)
