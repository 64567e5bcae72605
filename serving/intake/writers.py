"""Writers: of the requests that add to one upload, one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


class OffsetConflict(ValueError):
    """The sender goes on at another place than where the upload stands, or another goes on with it."""


@dataclass
class _Writer:
    """A request that adds to an upload."""

    task: asyncio.Task[object]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it adds nothing any more."""
    displaced: bool = False
    """True once a newer request has ended it."""


class Writers:
    """The requests of one server that add to uploads, by the upload's id. For one event loop."""

    def __init__(self) -> None:
        self._writers: dict[str, _Writer] = {}

    @asynccontextmanager
    async def alone(self, upload_id: str) -> AsyncIterator[None]:
        """Ends whoever is within for the same upload, and waits until he has ended. Raises OffsetConflict there.

        Several that wait for one end each other, and the last of them goes on.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        while (other := self._writers.get(upload_id)) is not None:
            if not other.displaced:
                other.displaced = True
                other.task.cancel()
            await other.ended.wait()
        writer = self._writers[upload_id] = _Writer(task)
        try:
            yield
        except asyncio.CancelledError:
            if not writer.displaced or task.uncancel():  # who asked has gone, or the server stops
                raise
            raise OffsetConflict("another request goes on with this upload; ask where it stands") from None
        finally:
            del self._writers[upload_id]
            writer.ended.set()
