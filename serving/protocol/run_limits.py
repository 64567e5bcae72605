"""Run limits: how long plain models may compute, and the threads that they do it in.

A graph may hold a loop without an end. Threads of an executor would be waited for at the end of the process, and one
operation may take for ever: so these are daemons, which nobody waits for longer than it takes to end them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.inference.runtime.plain import PlainRun

_LOOK_SECONDS = 0.25
_CLOSING_SECONDS = 5.0
"""That the runs under way are given to end, once they were told to."""

Work = Callable[[], None]


class PlainThreads:
    """Threads that all plain models of a process share. Safe to use from any thread."""

    def __init__(self, threads: int, *, most_seconds: float) -> None:
        """Each run is ended after `most_seconds`."""
        self.most_seconds = most_seconds
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._runs: dict[PlainRun, float] = {}
        """Those under way, and when they are to be ended, by `time.monotonic`."""
        self._changed = threading.Condition()
        self._closed = False
        names = [f"plain-model-{number}" for number in range(threads)]
        self._threads = [threading.Thread(target=self._serve, name=name, daemon=True) for name in names]
        for thread in (*self._threads, threading.Thread(target=self._watch, name="plain-watch", daemon=True)):
            thread.start()

    def submit(self, work: Work) -> None:
        """Has something done by the next thread that is free."""
        self._work.put(work)

    @contextmanager
    def limited(self, run: PlainRun) -> Iterator[None]:
        """For the time that a run takes: it is ended after its seconds, or when all are."""
        with self._changed:
            if self._closed:
                run.end()
            if not self._runs:
                self._changed.notify()
            self._runs[run] = time.monotonic() + self.most_seconds
        try:
            yield
        finally:
            with self._changed:
                del self._runs[run]

    def close(self) -> None:
        """Ends the runs under way; what waits is not begun."""
        with self._changed:
            self._closed = True
            for run in self._runs:
                run.end()
            self._changed.notify()
        for _ in self._threads:
            self._work.put(None)
        deadline = time.monotonic() + _CLOSING_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self) -> None:
        while (work := self._work.get()) is not None and not self._closed:
            work()

    def _watch(self) -> None:
        """Looks after runs as long as there are any."""
        look = min(_LOOK_SECONDS, self.most_seconds / 4)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._runs))
                if self._closed:
                    return
                now = time.monotonic()
                for run, end in self._runs.items():
                    if end <= now:
                        run.end()
            time.sleep(look)
