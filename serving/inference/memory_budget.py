"""Memory budget: what works at the same time may take together, known before each begins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_SECONDS = 0.2
"""Between looks whether what waits for memory is still wanted."""


class MemoryBudget:
    """Of which each work takes a share, waiting until others have given theirs back. Safe to use from any thread."""

    def __init__(self) -> None:
        self._taken = 0.0
        self._given_back = threading.Condition()

    @contextmanager
    def taken(self, share: float, *, look: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Holds a share, 0..1; of more than there is, all. Whoever finds nothing taken never waits.

        What `look` raises, which is called before and now and then while it waits, ends the waiting.
        """
        share = min(1.0, share)
        with self._given_back:
            look()
            while self._taken > 0.0 and self._taken + share > 1.0:
                self._given_back.wait(_LOOK_SECONDS)
                look()
            self._taken += share
        try:
            yield
        finally:
            with self._given_back:
                self._taken = max(0.0, self._taken - share)
                if self._taken < 1e-9:
                    self._taken = 0.0
                self._given_back.notify_all()
