"""Pace: a body, of whatever kind, arrives at some speed, or its request is given up."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.intake.body import UploadStalled

LEAST_BYTES_PER_SECOND = 512


class BodyStalled(UploadStalled, HTTPException):
    """A body that arrives too slowly. An HTTPException so that FastAPI, which reads some bodies, lets it pass."""

    def __init__(self, seconds: float) -> None:
        HTTPException.__init__(self, 408)
        self._seconds = seconds

    def __str__(self) -> str:
        least = LEAST_BYTES_PER_SECOND
        return f"less than {least} bytes a second were received for {self._seconds:g} seconds"


class BodyPace:
    """ASGI middleware; see the module. Time counts while the sender is waited for, and not what is done meanwhile."""

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        """Over each `seconds` a body brings LEAST_BYTES_PER_SECOND, or ends."""
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and any(name in _OF_A_BODY for name, _ in scope["headers"]):
            body = _Body(receive, send, self._seconds)
            receive, send = body.receive, body.send
        await self._app(scope, receive, send)


_OF_A_BODY = (b"content-length", b"transfer-encoding")


class _Body:
    """One request's."""

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive, self._send = receive, send
        self._seconds = self._left = seconds
        self._size = 0
        self._waited_for = True

    async def receive(self) -> Message:
        """What comes next. Raises BodyStalled."""
        if not self._waited_for:
            return await self._receive()
        now = asyncio.get_running_loop().time
        began = now()
        try:
            async with asyncio.timeout(self._left):
                message = await self._receive()
        except TimeoutError:
            raise BodyStalled(self._seconds) from None
        self._left -= now() - began
        self._size += len(message.get("body", b""))
        if self._size >= LEAST_BYTES_PER_SECOND * self._seconds:
            self._left, self._size = self._seconds, 0
        self._waited_for = bool(message.get("more_body"))
        return message

    async def send(self, message: Message) -> None:
        """Once there is an answer, nobody waits for the body any more."""
        self._waited_for = False
        await self._send(message)
