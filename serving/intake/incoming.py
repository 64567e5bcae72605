"""Incoming: a folder of the scratch disk for what a request brings, gone with the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from serving.intake.pools import ThreadPool
from serving.storage import Scratch


@asynccontextmanager
async def incoming_folder(scratch: Scratch, writing: ThreadPool) -> AsyncIterator[Path]:
    """A folder for what is on its way in, made and removed by the threads that write, whatever happens."""
    folder = scratch.passing("incoming")
    path = await writing.run(folder.__enter__)
    try:
        yield path
    finally:
        await writing.run(lambda: folder.__exit__(None, None, None))
