"""Threads for each kind of work: owners take turns, and what is cancelled has ended before anybody goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serving.intake.pools import ThreadPool

WAIT_SECONDS = 60
"""Nothing here takes so long."""


@contextmanager
def a_pool(threads: int, *, most_per_owner: int | None = None) -> Iterator[ThreadPool]:
    pool = ThreadPool("test", threads=threads, most_per_owner=most_per_owner)
    try:
        yield pool
    finally:
        pool.close()


def test_one_owner_keeps_no_other_waiting() -> None:
    """Ada's work fills all threads that one owner may have, and more of it waits: Bob's is done at once."""
    with a_pool(3) as pool:
        go_on, begun = threading.Event(), threading.Semaphore(0)

        def long() -> None:
            begun.release()
            go_on.wait(WAIT_SECONDS)

        async def both() -> str:
            ada = [asyncio.create_task(pool.run_in_turn(long, owner="ada")) for _ in range(10)]
            await asyncio.to_thread(lambda: [begun.acquire(timeout=WAIT_SECONDS) for _ in range(2)])
            done = await asyncio.wait_for(pool.run_in_turn(lambda: "bob's", owner="bob"), WAIT_SECONDS)
            assert not begun.acquire(blocking=False), "ada has two of three threads, and no more"
            go_on.set()
            await asyncio.gather(*ada)
            return done

        assert asyncio.run(both()) == "bob's"


def test_owners_take_turns() -> None:
    """One thread: three of Ada's were asked for first, and Bob's first one comes second all the same."""
    with a_pool(1, most_per_owner=1) as pool:
        order: list[str] = []

        async def all_of_it() -> None:
            names = [("ada", "a1"), ("ada", "a2"), ("ada", "a3"), ("bob", "b1"), ("bob", "b2")]
            await asyncio.gather(*(pool.run_in_turn(lambda n=name: order.append(n), owner=o) for o, name in names))

        asyncio.run(all_of_it())
        assert order == ["a1", "b1", "a2", "b2", "a3"]


def test_what_has_begun_is_waited_for_when_it_is_cancelled() -> None:
    """A file may be closed and removed right after: nobody writes to it any more."""
    with a_pool(1) as pool:
        begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def write() -> None:
            begun.set()
            go_on.wait(WAIT_SECONDS)
            ended.set()

        async def cancelled() -> None:
            writing = asyncio.create_task(pool.run(write))
            await asyncio.to_thread(begun.wait, WAIT_SECONDS)
            for _ in range(3):
                writing.cancel()
                await asyncio.sleep(0)
            assert not writing.done()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert ended.is_set()

        asyncio.run(cancelled())


def test_what_was_not_begun_is_given_up_at_once() -> None:
    """In the queue of the threads, and in that of the owners, whose places are free again."""
    with a_pool(1, most_per_owner=1) as pool:
        go_on, begun = threading.Event(), threading.Event()

        def first() -> None:
            begun.set()
            go_on.wait(WAIT_SECONDS)

        async def given_up() -> None:
            busy = asyncio.create_task(pool.run_in_turn(first, owner="ada"))
            await asyncio.to_thread(begun.wait, WAIT_SECONDS)
            waiting = [
                asyncio.create_task(pool.run(lambda: pytest.fail("it was cancelled"))),
                asyncio.create_task(pool.run_in_turn(lambda: pytest.fail("it was cancelled"), owner="bob")),
            ]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            assert all(task.cancelled() for task in waiting)
            go_on.set()
            await busy
            assert await pool.run_in_turn(lambda: "next", owner="bob") == "next"

        asyncio.run(given_up())


def test_what_the_work_raises_is_raised() -> None:
    """And its place is free again."""
    with a_pool(1) as pool:

        def fails() -> None:
            raise KeyError("it")

        async def raised() -> int:
            for _ in range(3):
                with pytest.raises(KeyError, match="it"):
                    await pool.run_in_turn(fails, owner=None)
            return await pool.run_in_turn(lambda: 7, owner=None)

        assert asyncio.run(raised()) == 7
