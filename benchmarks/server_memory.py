"""A server's memory, looked at again and again while something is asked of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harness import servers


@contextmanager
def memory_samples(server: servers.Process, *, every_seconds: float) -> Iterator[list[int]]:
    """The server's resident memory, in bytes, as often as that for as long as the context lasts."""
    samples, ended = [server.resident_bytes()], threading.Event()

    def sample() -> None:
        while not ended.wait(every_seconds):
            samples.append(server.resident_bytes())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
