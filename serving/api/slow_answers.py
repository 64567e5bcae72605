"""Slow answers: pictures and downloads, made in threads of their own, so that the common ones stay for what is quick.

Sync routes and small questions to the database share 40 threads. Forty pictures of a slow disk would hold all of them,
and with them every scan's state.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

Made = TypeVar("Made")

_THREADS = 16
_DRAWING_THREADS = 8
_WHOLE_THREADS = 2
_COMPARING_THREADS = 2


class SlowAnswers:
    """The threads of one server in which results are made. For one event loop."""

    def __init__(self, threads: int = _THREADS) -> None:
        self._limiter = CapacityLimiter(threads)
        self._drawing = CapacityLimiter(_DRAWING_THREADS)
        self._whole = CapacityLimiter(_WHOLE_THREADS)
        self._comparing = CapacityLimiter(_COMPARING_THREADS)

    async def make(self, work: Callable[[], Made]) -> Made:
        """What `work` gives. Raises what it raises."""
        return await to_thread.run_sync(work, limiter=self._limiter)

    async def drawn(self, work: Callable[[], Made]) -> Made:
        """The same for a picture, in other threads: large ones wait for one another, and no download waits for them."""
        return await to_thread.run_sync(work, limiter=self._drawing)

    async def whole(self, work: Callable[[], Made]) -> Made:
        """The same for what is made whole in much memory, surfaces and DICOM: two at a time, and neither pictures nor
        other downloads wait for them."""
        return await to_thread.run_sync(work, limiter=self._whole)

    async def compared(self, work: Callable[[], Made]) -> Made:
        """The same for files that are read whole before a part of them is handed out, as large as they are: two at a
        time, and what is handed out already waits for none of them."""
        return await to_thread.run_sync(work, limiter=self._comparing)

    async def pieces(self, made: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The same pieces, each made when the one before has been sent. Raises what making them raises."""
        while (piece := await self.make(lambda: next(made, None))) is not None:
            yield piece
