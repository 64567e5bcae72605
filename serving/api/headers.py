"""Headers: what every answer tells a browser to leave alone. A route that sets one of them itself keeps its own."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api import problems

NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""For what is no page."""
_DOCS = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""FastAPI's page starts by a script within it, and shows a picture that a call answers as a blob."""
_YEAR = "max-age=31536000"
_ABOUT_SCANS = ("/v1/", "/v2/")


class SecurityHeaders:
    """Sets them on every answer, that of an unexpected error included."""

    def __init__(self, app: ASGIApp, *, tls: bool = False) -> None:
        self._app = app
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, started = scope["path"], False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._complete(MutableHeaders(scope=message), path)
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        except Exception as error:
            if started or not problems.is_foreseen(error):
                if not started:
                    await problems.answer(Request(scope), error)(scope, receive, with_headers)
                raise
            await problems.answer(Request(scope), error)(scope, receive, with_headers)

    def _complete(self, headers: MutableHeaders, path: str) -> None:
        headers.setdefault("x-content-type-options", "nosniff")
        headers.setdefault("referrer-policy", "same-origin")  # with none, a form of this server has no origin
        page = path == "/docs" or path.startswith("/docs/")
        headers.setdefault("content-security-policy", _DOCS if page else NOTHING)
        if path.startswith(_ABOUT_SCANS):
            headers.setdefault("cache-control", "no-store")
        if self._tls:
            headers.setdefault("strict-transport-security", _YEAR)
