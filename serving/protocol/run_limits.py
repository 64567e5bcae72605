"""Run limits: how long plain models may compute, and the threads that they do it in.

A graph may hold a loop without an end. Threads of an executor would be waited for at the end of the process, and one
operation may take for ever: so these are daemons, which nobody waits for longer than it takes to end them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.inference.runtime.plain import PlainRun

_LOOK_SECONDS = 0.25
_CLOSING_SECONDS = 5.0
"""That the runs under way are given to end, once they were told to."""

Work = Callable[[], None]


class PlainThreads:
    """Threads that all plain models of a process share, of which one is left to others. Safe to use from any thread."""

    def __init__(self, threads: int, *, most_seconds: float) -> None:
        """At least two. Each run is ended after `most_seconds`."""
        threads = max(2, threads)
        self.most_seconds = most_seconds
        self._most_of_a_model = threads - 1
        self._work: deque[tuple[str, Work]] = deque()
        self._busy: Counter[str] = Counter()
        """Threads, by the model that they work for."""
        self._runs: dict[PlainRun, float] = {}
        """Those under way, and when they are to be ended, by `time.monotonic`."""
        self._changed = threading.Condition()
        self._ended = self._closed = False
        names = [f"plain-model-{number}" for number in range(threads)]
        self._threads = [threading.Thread(target=self._serve, name=name, daemon=True) for name in names]
        for thread in (*self._threads, threading.Thread(target=self._watch, name="plain-watch", daemon=True)):
            thread.start()

    def submit(self, work: Work, *, model: str) -> None:
        """Has something done for a model by the next thread that it may have."""
        with self._changed:
            self._work.append((model, work))
            self._changed.notify_all()

    @contextmanager
    def limited(self, run: PlainRun) -> Iterator[None]:
        """For the time that a run takes: it is ended after its seconds, or when all are."""
        with self._changed:
            if self._ended:
                run.end()
            if not self._runs:
                self._changed.notify_all()
            self._runs[run] = time.monotonic() + self.most_seconds
        try:
            yield
        finally:
            with self._changed:
                del self._runs[run]

    def end_runs(self) -> None:
        """Ends the runs under way, and from now on each as soon as it is begun."""
        with self._changed:
            self._ended = True
            for run in self._runs:
                run.end()

    def close(self) -> None:
        """Ends the runs under way and those that wait, and the threads."""
        self.end_runs()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        deadline = time.monotonic() + _CLOSING_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self) -> None:
        while (taken := self._next()) is not None:
            model, work = taken
            work()
            with self._changed:
                self._busy[model] -= 1
                self._changed.notify_all()

    def _next(self) -> tuple[str, Work] | None:
        """The first work of a model that may have another thread, waiting for it; None at the end."""
        with self._changed:
            while True:
                for number, (model, work) in enumerate(self._work):
                    if self._busy[model] < self._most_of_a_model:
                        del self._work[number]
                        self._busy[model] += 1
                        return model, work
                if self._closed and not self._work:
                    return None
                self._changed.wait()

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
