"""Deferred writes: what a database that did not answer could not be told of a scan on its way in, written later.

Without them a scan whose acceptance an outage cut off would neither be queued nor given up for an hour, and whoever
sent it again with its Idempotency-Key would wait for that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from serving.observability import logs
from serving.observability.reasons import reason
from serving.queue.jobs import ScanNotFound

_REPEAT_SECONDS = 60.0
"""What was sent before the outage may still be carried out after it: so long, what undoes it is written again."""


@dataclass(eq=False)
class _Write:
    write: Callable[[], None]
    repeated: bool
    until: float | None = None
    """By `time.monotonic`; None before it was first written."""


class DeferredWrites:
    """Of one process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._writes: list[_Write] = []
        self._lock = threading.Lock()

    def attempt(self, write: Callable[[], None], *, repeated: bool = False) -> None:
        """Writes to the database; later, if it does not answer now. Raises SQLAlchemyError where it does not.

        With `repeated`, what is written late is written for a while, and may be written twice.
        """
        try:
            write()
        except SQLAlchemyError:
            self.defer(write, repeated=repeated)
            raise

    def defer(self, write: Callable[[], None], *, repeated: bool = False) -> None:
        """Has something written later."""
        with self._lock:
            self._writes.append(_Write(write, repeated))

    def retry(self) -> None:
        """Writes all that was deferred; what the database still does not take is kept, and holds up none of the rest.

        Raises OperationalError where the database does not answer still: then nothing else is tried either.
        """
        if not self._writes:
            return
        with self._lock:
            for deferred in list(self._writes):
                if self._done(deferred):
                    self._writes.remove(deferred)

    def _done(self, deferred: _Write) -> bool:
        """True if that was it."""
        try:
            deferred.write()
        except ScanNotFound:  # removed meanwhile, or it was written after all
            return True
        except (OperationalError, PoolTimeout):
            raise
        except Exception as error:
            logs.event("write_deferred_again", level=logging.ERROR, error=reason(error))
            return False
        deferred.until = deferred.until or time.monotonic() + _REPEAT_SECONDS * deferred.repeated
        return time.monotonic() >= deferred.until
