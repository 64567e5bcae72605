"""LooseEnds: what a database that did not answer could not be told of a scan on its way in, told once it answers.

Without them a scan whose acceptance an outage cut off would neither be queued nor given up for an hour, and whoever
sent it again with its Idempotency-Key would wait for that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from serving.queue.jobs import ScanNotFound

_AGAIN_SECONDS = 60.0
"""What was sent before the outage may still be carried out after it: so long, what undoes it is told again."""


@dataclass(eq=False)
class _End:
    tell: Callable[[], None]
    again: bool
    until: float | None = None
    """By `time.monotonic`; None before it was told."""


class LooseEnds:
    """Of one process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._ends: list[_End] = []
        self._lock = threading.Lock()

    def tell(self, tell: Callable[[], None], *, again: bool = False) -> None:
        """Tells the database something; later, if it does not answer now. Raises SQLAlchemyError where it does not.

        With `again`, what is told late is told for a while, and may be told twice.
        """
        try:
            tell()
        except SQLAlchemyError:
            self.leave(tell, again=again)
            raise

    def leave(self, tell: Callable[[], None], *, again: bool = False) -> None:
        """Has something told later."""
        with self._lock:
            self._ends.append(_End(tell, again))

    def tie(self) -> None:
        """Tells all that is left. Raises SQLAlchemyError where the database does not answer still."""
        if not self._ends:
            return
        with self._lock:
            for end in list(self._ends):
                if self._told(end):
                    self._ends.remove(end)

    def _told(self, end: _End) -> bool:
        """True if that was it."""
        try:
            end.tell()
        except ScanNotFound:  # removed meanwhile, or it was told after all
            return True
        end.until = end.until or time.monotonic() + _AGAIN_SECONDS * end.again
        return time.monotonic() >= end.until
