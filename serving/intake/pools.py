"""Pools: the threads that scans are taken in with, bounded for each kind of work, so that no kind waits for another.

A small scan is verified beside the large ones, never behind them; and within a kind of work owners take turns, so that
whoever posts much waits for himself alone. How large a scan is, its header says: the bytes that were sent do not.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

LIGHT_BYTES = 64 << 20
LIGHT_VOXELS = 64 << 20
"""A scan with more bytes or voxels is a heavy one: reading it through takes more than a second or so."""

_ASKING_THREADS = 8
_WRITING_THREADS = 8
"""Each piece of an upload is written in a moment; a disk that hangs holds up these alone."""
_FETCHING_THREADS = 8
_LIGHT_THREADS = 8


class ThreadPool:
    """Threads with a name. Owners take turns: none has more than its share of them at once. For one event loop."""

    def __init__(self, name: str, *, threads: int, most_per_owner: int | None = None) -> None:
        """`most_per_owner` threads, all but one by default, work for one owner at a time; work without one is free."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._threads = threads
        self._most_per_owner = most_per_owner or max(1, threads - 1)
        self._waiting: dict[str | None, deque[asyncio.Future[None]]] = {}
        self._running: Counter[str | None] = Counter()
        self._turns = 0
        self._latest: dict[str | None, int] = {}
        """The turn that each owner had last, as long as he has work here."""

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, in one of the threads, in the order in which it was asked for.

        Whoever is cancelled while he waits goes on only when the work has ended, or if it has not begun: what it uses
        can then be closed and removed. Raises what it raises.
        """
        context = contextvars.copy_context()
        submitted = self._executor.submit(context.run, work)
        future = asyncio.wrap_future(submitted)
        cancelled = False
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:
                if submitted.cancel():
                    raise
                cancelled = True
        if cancelled:
            future.exception()  # nobody asks for it any more
            raise asyncio.CancelledError
        return future.result()

    async def run_in_turn(self, work: Callable[[], Result], *, owner: str | None) -> Result:
        """The same, when it is the owner's turn."""
        async with self._turn(owner):
            return await self.run(work)

    def close(self) -> None:
        """Ends its threads with the work that they have begun."""
        self._executor.shutdown(cancel_futures=True)

    @asynccontextmanager
    async def _turn(self, owner: str | None) -> AsyncIterator[None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._give_turns()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end_turn(owner)
            raise
        try:
            yield
        finally:
            self._end_turn(owner)

    def _end_turn(self, owner: str | None) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        self._give_turns()

    def _give_turns(self) -> None:
        while self._running.total() < self._threads and (turn := self._next_turn()) is not None:
            turn.set_result(None)

    def _next_turn(self) -> asyncio.Future[None] | None:
        """That of the owner for whom least is done at the moment; of several, the one who was served longest ago."""
        for owner in list(self._waiting):  # those who went away while they waited
            queue = self._waiting[owner]
            while queue and queue[0].cancelled():
                queue.popleft()
            if not queue:
                del self._waiting[owner]
        self._latest = {owner: turn for owner, turn in self._latest.items() if self._has_work(owner)}
        free = [owner for owner in self._waiting if self._running[owner] < self._most_per_owner]
        if not free:
            return None
        owner = min(free, key=lambda one: (self._running[one], self._latest.get(one, 0)))
        self._turns += 1
        self._latest[owner] = self._turns
        self._running[owner] += 1
        return self._waiting[owner].popleft()

    def _has_work(self, owner: str | None) -> bool:
        return owner in self._waiting or owner in self._running


@dataclass(frozen=True)
class Pools:
    """Those of a server, one for each kind of work."""

    asking: ThreadPool
    """Short questions to the database, which may be silent."""
    writing: ThreadPool
    """Bytes of uploads to the disk, fsync among it."""
    fetching: ThreadPool
    """Scans from where they lie, and the hashing of what is large."""
    light: ThreadPool
    """Looking at every scan, and verifying the small ones."""
    heavy: ThreadPool
    """Verifying the large ones: as many at once as there are processors, for one owner; one more for the others."""

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Pools]:
        """Their threads end with the context."""
        pools = cls(
            asking=ThreadPool("intake-question", threads=_ASKING_THREADS),
            writing=ThreadPool("upload-writer", threads=_WRITING_THREADS),
            fetching=ThreadPool("scan-fetcher", threads=_FETCHING_THREADS),
            light=ThreadPool("light-verifier", threads=_LIGHT_THREADS),
            heavy=ThreadPool("heavy-verifier", threads=max(2, os.cpu_count() or 1) + 1),
        )
        try:
            yield pools
        finally:
            for pool in (pools.asking, pools.writing, pools.fetching, pools.light, pools.heavy):
                pool.close()
