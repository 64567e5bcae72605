"""Pictures and downloads that take long hold up none but their like."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import anyio
import pytest
from anyio import to_thread

from serving.api.slow_answers import SlowAnswers

WAIT_SECONDS = 60
COMMON_THREADS = 40
"""That small questions share."""


def test_slow_answers_leave_the_common_threads_free() -> None:
    """More of them than there are common threads: what is quick is answered while all of them wait."""
    go_on, begun = threading.Event(), threading.Semaphore(0)
    made: list[str] = []

    def slow() -> str:
        begun.release()
        go_on.wait(WAIT_SECONDS)
        return "picture"

    async def all_of_it() -> str:
        answers = SlowAnswers(threads=2)

        async def ask() -> None:
            made.append(await answers.make(slow))

        async with anyio.create_task_group() as tasks:
            for _ in range(COMMON_THREADS + 10):
                tasks.start_soon(ask)
            for _ in range(2):
                await to_thread.run_sync(partial(begun.acquire, timeout=WAIT_SECONDS))
            quick = await to_thread.run_sync(lambda: "state")
            assert not begun.acquire(blocking=False) and made == []
            go_on.set()
        return quick

    assert anyio.run(all_of_it) == "state"
    assert made == ["picture"] * (COMMON_THREADS + 10)


@pytest.mark.parametrize("kind", ["drawn", "whole"])
def test_pictures_and_bodies_that_wait_hold_up_no_download(kind: str) -> None:
    """Many more than there are threads for, none of which is done: a piece of a download comes all the same."""
    go_on = threading.Event()

    async def all_of_it() -> list[bytes]:
        answers = SlowAnswers()
        async with anyio.create_task_group() as tasks:
            for _ in range(COMMON_THREADS):
                tasks.start_soon(getattr(answers, kind), partial(go_on.wait, WAIT_SECONDS))
            await anyio.sleep(0.05)
            with anyio.fail_after(WAIT_SECONDS / 2):
                pieces = [piece async for piece in answers.pieces(iter([b"a"]))]
            go_on.set()
        return pieces

    assert anyio.run(all_of_it) == [b"a"]


def test_a_download_comes_piece_by_piece() -> None:
    """In order and to the end; what making a piece raises breaks it off."""

    def pieces() -> Iterator[bytes]:
        yield b"a"
        yield b"b"
        raise OSError("the disk is gone")

    async def fetched() -> list[bytes]:
        coming = SlowAnswers().pieces(pieces())
        got = [await anext(coming), await anext(coming)]
        with pytest.raises(OSError, match="the disk is gone"):
            await anext(coming)
        return got

    assert anyio.run(fetched) == [b"a", b"b"]
