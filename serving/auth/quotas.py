"""Quotas: how many requests a key may make in a minute, and how many bytes it may send in a day.

Requests are counted in this process alone; bytes in the database, in steps, so that a limit holds for all processes
together up to one step of each.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from serving.auth.keys import Key, Keys

STEP_BYTES = 64 << 20
"""Bytes are written to the database when so many are not yet there, or at the end of a request after `STEP_SECONDS`."""
STEP_SECONDS = 5.0
_DAY_SECONDS = 86400


class QuotaExceeded(RuntimeError):
    """A key's allowance is used up."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = max(1, math.ceil(seconds))
        """Until it is worth another try."""


@dataclass
class _Requests:
    """A bucket that holds a minute's requests and fills up steadily."""

    left: float
    at: float


@dataclass
class _Bytes:
    """What was sent in a day."""

    day: int = 0
    counted: int = 0
    """In the database, by all processes, when it was last asked."""
    pending: int = 0
    """By this process since."""
    written: float = 0.0
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Quotas:
    """Of the keys of one process. For one event loop."""

    def __init__(self, keys: Keys, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._requests: dict[str, _Requests] = {}
        self._bytes: dict[str, _Bytes] = {}

    def learn(self, keys: Iterable[Key]) -> None:
        """Takes over what the database says was sent today."""
        for key in keys:
            if key.bytes_per_day is not None:
                of = self._today(key.id)
                of.counted = max(of.counted, key.bytes if key.day == of.day else 0)

    def take_request(self, key: Key) -> None:
        """Counts a request. Raises QuotaExceeded."""
        if key.requests_per_minute is None:
            return
        most, now = float(key.requests_per_minute), self._clock()
        of = self._requests.setdefault(key.id, _Requests(most, now))
        of.left, of.at = min(most, of.left + max(0.0, now - of.at) * most / 60), now
        if of.left < 1:
            raise QuotaExceeded(
                f"this key may make {key.requests_per_minute} requests a minute", seconds=(1 - of.left) * 60 / most
            )
        of.left -= 1

    def check_bytes(self, key: Key, size: int) -> None:
        """Raises QuotaExceeded if so many bytes more are too many for today."""
        if key.bytes_per_day is None:
            return
        of = self._today(key.id)
        sent = of.counted + of.pending
        if sent + size > key.bytes_per_day:
            now = self._clock()
            raise QuotaExceeded(
                f"this key may send {key.bytes_per_day} bytes a day; {sent} were sent since midnight UTC",
                seconds=_DAY_SECONDS - now % _DAY_SECONDS,
            )

    async def add_bytes(self, key_id: str | None, size: int) -> None:
        """Counts bytes that have arrived by a key of which they are counted. Raises SQLAlchemyError."""
        if key_id in self._bytes:
            of = self._today(key_id)
            of.pending += size
            if of.pending >= STEP_BYTES:
                await self._write(key_id, of)

    async def settle(self, key_id: str) -> None:
        """Writes down what has arrived, unless that was done a moment ago. Raises SQLAlchemyError."""
        of = self._bytes.get(key_id)
        if of is not None and of.pending and time.monotonic() > of.written + STEP_SECONDS:
            await self._write(key_id, of)

    def close(self) -> None:
        """Writes down the rest, where the database answers."""
        with suppress(SQLAlchemyError):
            for key_id, of in self._bytes.items():
                if of.pending:
                    self._keys.add_bytes(key_id, of.day, of.pending)
                    of.pending = 0

    async def _write(self, key_id: str, of: _Bytes) -> None:
        async with of.writing:
            size, day = of.pending, of.day
            if not size:
                return
            counted = await asyncio.to_thread(self._keys.add_bytes, key_id, day, size)
            if of.day == day:
                of.counted, of.pending = counted, of.pending - size
            of.written = time.monotonic()

    def _today(self, key_id: str) -> _Bytes:
        of, day = self._bytes.setdefault(key_id, _Bytes()), int(self._clock() // _DAY_SECONDS)
        if of.day != day:
            of.day, of.counted, of.pending = day, 0, 0
        return of
