"""Probe: a look at something that may fail or hang (a disk that is mounted, a database) which hangs nobody with it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Seen = TypeVar("Seen")


class Unanswered(TimeoutError):
    """A look that did not end within its time."""


@dataclass
class _Look(Generic[Seen]):
    future: Future[Seen] = field(default_factory=Future)
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None


class Probe(Generic[Seen]):
    """One look at a time, in a thread of its own, and what it saw is given to all who ask soon enough."""

    def __init__(self, look: Callable[[], Seen], *, most_age_seconds: float, limit_seconds: float) -> None:
        """What was seen, or raised, counts for `most_age_seconds`; who asks waits at most `limit_seconds`."""
        self._look = look
        self._most_age_seconds = most_age_seconds
        self._limit_seconds = limit_seconds
        self._lock = threading.Lock()
        self._latest: _Look[Seen] | None = None

    def ask(self) -> Seen:
        """What is seen. Raises Unanswered, what the look raises, and RuntimeError where there is no thread for it."""
        latest = self._current()
        try:
            return latest.future.result(self._left(latest))
        except TimeoutError:
            raise self._unanswered(latest) from None

    async def ask_async(self, *, limit_seconds: float | None = None) -> Seen:
        """The same, without holding the event loop up; waits at most `limit_seconds` where that is said."""
        latest = self._current()
        try:
            async with asyncio.timeout(self._left(latest, limit_seconds)):
                return await asyncio.shield(asyncio.wrap_future(latest.future))
        except TimeoutError:
            raise self._unanswered(latest) from None

    def _current(self) -> _Look[Seen]:
        with self._lock:
            latest = self._latest
            under_way = latest is not None and latest.ended is None
            fresh = latest is not None and time.monotonic() - (latest.ended or 0.0) < self._most_age_seconds
            if latest is None or not (under_way or fresh):
                latest = _Look()
                threading.Thread(target=self._run, args=(latest,), name="probe", daemon=True).start()
                self._latest = latest  # not before: a look that no thread was left for would never end
            return latest

    def _run(self, look: _Look[Seen]) -> None:
        try:
            seen = self._look()
        except BaseException as error:  # one that is passed over here would be waited for ever after
            look.ended = time.monotonic()
            look.future.set_exception(error)
        else:
            look.ended = time.monotonic()
            look.future.set_result(seen)

    def _left(self, look: _Look[Seen], limit_seconds: float | None = None) -> float:
        limit = self._limit_seconds if limit_seconds is None else limit_seconds
        return max(0.0, look.began + limit - time.monotonic())

    def _unanswered(self, look: _Look[Seen]) -> Exception:
        error = look.future.exception() if look.future.done() else None
        if isinstance(error, Exception):  # a TimeoutError of the look itself
            return error
        return Unanswered(f"no answer for {time.monotonic() - look.began:.1f} s")
