"""Threads that last as long as a context, for clients that ask without a pause."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Threads:
    """Calls each of these on a thread of its own when the context is entered; leaving it waits until all have returned.

    They are told to by `stopping`, which the calls look at themselves.
    """

    def __init__(self, *calls: Callable[[], None]) -> None:
        self.stopping = threading.Event()
        self._threads = [threading.Thread(target=call) for call in calls]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()
