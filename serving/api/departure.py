"""Departure: a client that leaves before it is answered ends what is computed for it alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

_LOOK_SECONDS = 1.0
"""Who is answered sooner is not looked after: that would cost a small request more than it spares."""

Answer = TypeVar("Answer")


async def unless_gone(receive: Receive, work: Callable[[], Awaitable[Answer]]) -> Answer:
    """What `work` gives; `receive` is that of a request whose body has been read to its end.

    Cancels the work and raises ClientDisconnect where the client leaves meanwhile.
    """
    loop, asking = asyncio.get_running_loop(), asyncio.current_task()
    watches: list[asyncio.Task[None]] = []
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        if asking is not None:
            asking.cancel()

    timer = loop.call_later(_LOOK_SECONDS, lambda: watches.append(loop.create_task(watch())))
    try:
        return await work()
    except asyncio.CancelledError:
        if gone and asking is not None and not asking.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        for task in watches:
            task.cancel()
