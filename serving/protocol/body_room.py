"""Body room: what requests of the protocol hold of the server's memory and time before anything is computed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from serving.inference.backpressure import SlicesFull
from serving.parsing.malformed import TooLarge
from serving.protocol.errors import BodyTooSlow

MOST_BODY_BYTES = 256 << 20
"""Of one request as it arrives, and as much again of what is made of it."""
_MOST_BYTES = 768 << 20
"""Of all requests under way."""
_OWNER_BYTES = _MOST_BYTES // 2
"""Of those of one owner, where there is more than one of them."""
LEAST_BYTES_PER_SECOND = 256 << 10
"""Of a body that holds more room than this pace asks for:"""
_UNHURRIED_BYTES = 1 << 20

Result = TypeVar("Result")


class Held:
    """What one request holds: its body, and what is made of it. Safe to use from any thread."""

    def __init__(self, room: BodyRoom, owner: str | None) -> None:
        self.owner = owner
        self.size = 0
        """Bytes, by the room's count."""
        self._room = room
        self._received = self._made = 0

    async def counted(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same body. Raises TooLarge where it is, SlicesFull where those of all requests are, and BodyTooSlow
        where it holds room and falls too far behind its pace.
        """
        behind, pieces, began = 0.0, aiter(body), time.monotonic()
        while (piece := await anext(pieces, None)) is not None:
            self._received += len(piece)
            self._check(self._received)
            self._room.take(self, len(piece))
            behind = max(0.0, behind + time.monotonic() - began - len(piece) / LEAST_BYTES_PER_SECOND)
            if behind > self._room.patience_seconds and self._received > _UNHURRIED_BYTES:
                raise BodyTooSlow(
                    f"{self._received} bytes came, and the rest is {behind:.1f} s behind {LEAST_BYTES_PER_SECOND} "
                    f"bytes a second; it may be {self._room.patience_seconds:g} s (RICEFISH_UPLOAD_TIMEOUT_SECONDS)"
                )
            yield piece
            began = time.monotonic()

    def take(self, size: int) -> None:
        """So many bytes more are about to be made of the body. Raises TooLarge, SlicesFull."""
        self._made += size
        self._check(self._made)
        self._room.take(self, size)

    def _check(self, size: int) -> None:
        if size > MOST_BODY_BYTES:
            raise TooLarge(
                f"the request has more than {MOST_BODY_BYTES} bytes, as it came or as what it stands for; ask for "
                "fewer slices at once, or post a whole scan to /v1/scans"
            )


class BodyRoom:
    """Of one server. Long JSON is read and written by one thread, one after another: it holds the interpreter up."""

    def __init__(self, *, patience_seconds: float) -> None:
        """A body that holds room may be so far behind its pace."""
        self.patience_seconds = patience_seconds
        self._held: set[Held] = set()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tensors")

    @contextmanager
    def holding(self, owner: str | None) -> Iterator[Held]:
        """For as long as a request of this owner, None where there are no keys, needs what it holds."""
        held = Held(self, owner)
        with self._lock:
            self._held.add(held)
        try:
            yield held
        finally:
            with self._lock:
                self._held.remove(held)

    def take(self, held: Held, size: int) -> None:
        """So many bytes more for a request. Raises SlicesFull where all, or its owner's, have too many then."""
        with self._lock:
            if held not in self._held:
                raise RuntimeError("the request is over")
            self._check_room(sum(one.size for one in self._held) + size, _MOST_BYTES, whose="requests")
            others = [one.size for one in self._held if one is not held and one.owner == held.owner and one.size]
            if held.owner is not None and others:
                self._check_room(sum(others) + held.size + size, _OWNER_BYTES, whose="requests of this key's owner")
            held.size += size

    def _check_room(self, size: int, most: int, *, whose: str) -> None:
        if size > most:
            raise SlicesFull(
                f"{whose} would hold {size} bytes, and may hold {most}",
                limit="bytes",
                waiting=size,
                most=most,
                seconds=1.0,
            )

    async def in_turn(self, work: Callable[[], Result]) -> Result:
        """What takes long, after what came before it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Returns when nothing is under way."""
        self._thread.shutdown(wait=True, cancel_futures=True)
