"""Whatever ends an upload, nothing of it is written once it has ended."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serving.intake.body import receive
from serving.intake.limits import Limits
from serving.intake.pools import ThreadPool
from serving.intake.tus import Uploads

WAIT_SECONDS = 60
PIECE = b"x" * (5 << 20)
"""More than is kept before it is written."""


class SlowPool(ThreadPool):
    """Each work waits in its thread until it is let on."""

    def __init__(self) -> None:
        super().__init__("slow", threads=2)
        self.begun, self.go_on, self.under_way = threading.Event(), threading.Event(), 0

    async def run(self, work: Any) -> Any:
        def slowly() -> Any:
            self.under_way += 1
            self.begun.set()
            self.go_on.wait(WAIT_SECONDS)
            try:
                return work()
            finally:
                self.under_way -= 1

        return await super().run(slowly)


async def pieces() -> AsyncIterator[bytes]:
    while True:
        yield PIECE


def test_a_body_that_is_cancelled_while_it_is_written(tmp_path: Path) -> None:
    """Its file is closed when the write has ended, not before: the write succeeds."""
    pool = SlowPool()

    async def cancelled() -> None:
        receiving = asyncio.create_task(
            receive(pieces(), tmp_path / "scan", limits=Limits(tmp_path, None), writing=pool)
        )
        await asyncio.to_thread(pool.begun.wait, WAIT_SECONDS)
        receiving.cancel()
        await asyncio.sleep(0.05)
        assert not receiving.done() and pool.under_way == 1
        pool.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert pool.under_way == 0

    asyncio.run(cancelled())
    pool.close()
    assert (tmp_path / "scan").stat().st_size == len(PIECE)


def test_the_event_loop_waits_for_no_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumable upload's disk takes its time: whoever else asks is answered meanwhile."""
    pool = ThreadPool("upload-writer", threads=2)
    uploads = Uploads(tmp_path, limits=Limits(tmp_path, None), expiry_seconds=1e6, writing=pool)
    upload_id = uploads.create(length=3, metadata="").id
    syncing, go_on, fsync = threading.Event(), threading.Event(), os.fsync

    def slowly(handle: int) -> None:
        syncing.set()
        assert go_on.wait(WAIT_SECONDS)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", slowly)

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"

    async def meanwhile() -> int:
        appending = asyncio.create_task(uploads.append(upload_id, body(), offset=0))
        while not syncing.is_set():
            await asyncio.sleep(0.01)
        go_on.set()  # only a loop that is free comes here
        return await appending

    assert asyncio.run(meanwhile()) == 3
    pool.close()


def test_two_parts_at_once_are_not_mixed(tmp_path: Path) -> None:
    """Three clients go on with one upload at the same offset: one of them writes, the others hear of it."""
    pool = ThreadPool("upload-writer", threads=4)
    uploads = Uploads(tmp_path, limits=Limits(tmp_path, None), expiry_seconds=1e6, writing=pool)
    upload_id = uploads.create(length=6, metadata="").id

    async def body(letter: bytes) -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield letter

    async def together() -> list[int | BaseException]:
        parts = [
            asyncio.create_task(uploads.append(upload_id, body(letter), offset=0)) for letter in (b"a", b"b", b"c")
        ]
        return await asyncio.gather(*parts, return_exceptions=True)

    answers = asyncio.run(together())
    pool.close()
    content = uploads.data(upload_id).read_bytes()
    assert len([one for one in answers if one == 3]) <= 1, answers
    assert len(content) <= 3 and len(set(content)) <= 1, content
