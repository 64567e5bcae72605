"""Memory budget: what works at the same time may take together, known before each begins."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_SECONDS = 0.2
"""Between looks whether what waits for memory is still wanted."""
_ROUNDING = 1e-6


class MemoryBudget:
    """Of which each work takes a share, waiting until others have given theirs back; first come, first served, or small
    ones would keep a large one out for ever. Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._taken = 0.0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, share: float, *, look: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Holds a share; one of more than there is has all of it alone, and one of nothing never waits.

        What `look` raises, which is called before and now and then while it waits, ends the waiting.
        """
        share = min(1.0, share)
        look()
        if share <= 0.0:
            yield
            return
        self._wait(share, look)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= share
                self._changed.notify_all()

    def _wait(self, share: float, look: Callable[[], None]) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or self._taken + share > 1.0 + _ROUNDING:
                    self._changed.wait(_LOOK_SECONDS)
                    look()
                self._taken += share
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
