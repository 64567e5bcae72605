"""Body room: what requests of the protocol hold of the server's memory and time before anything is computed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from serving.inference.backpressure import SlicesFull
from serving.parsing.malformed import TooLarge

MOST_BODY_BYTES = 256 << 20
"""Of one request, packed and unpacked."""
_MOST_BYTES = 768 << 20
"""Of the bodies of all requests under way."""

Result = TypeVar("Result")


class Held:
    """What one request holds; for one event loop, like the room."""

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self.size = 0

    async def counted(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same body. Raises TooLarge where it is, and SlicesFull where those of all requests are."""
        async for piece in body:
            self.size += len(piece)
            self._room.held += len(piece)
            if self.size > MOST_BODY_BYTES:
                raise TooLarge(
                    f"the request has more than {MOST_BODY_BYTES} bytes; ask for fewer slices at once, or post a whole "
                    "scan to /v1/scans"
                )
            if self._room.held > _MOST_BYTES:
                raise SlicesFull(
                    f"requests of {self._room.held} bytes are under way, and {_MOST_BYTES} may",
                    limit="bytes",
                    waiting=self._room.held,
                    most=_MOST_BYTES,
                    seconds=1.0,
                )
            yield piece


class BodyRoom:
    """Of one server. Long JSON is read and written by one thread, one after another: it holds the interpreter up."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of the bodies of all requests under way."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tensors")

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """For as long as a request is under way."""
        held = Held(self)
        try:
            yield held
        finally:
            self.held -= held.size

    async def in_turn(self, work: Callable[[], Result]) -> Result:
        """What takes long, after what came before it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Returns when nothing is under way."""
        self._thread.shutdown(wait=True, cancel_futures=True)
