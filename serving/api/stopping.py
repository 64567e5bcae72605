"""Stopping: a request that the end of the server cuts short is answered like any other."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api import problems
from serving.api.problem_table import NotReady


class AnsweredWhenCut:
    """ASGI middleware: what is cancelled from outside, before it is answered, is answered with 503."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if begun or scope["type"] != "http":
                raise
            cut = NotReady("the server stops, and this was not finished; ask again")
            await problems.answer(Request(scope), cut)(scope, receive, send)
