"""RequestWatch: gives every request an id, counts, times, logs and traces it. Pure ASGI, a few microseconds."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.identity import identity_of
from serving.observability import logs
from serving.observability.telemetry import Telemetry
from serving.observability.tracing import Tracing

REQUEST_ID = "X-Request-ID"
PROBLEM = "ricefish.problem"
"""Where in the scope the slug of the problem stands that was answered."""

_HEADER = REQUEST_ID.lower().encode()
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
_QUIET = ("/health/", "/metrics", "/v2/health/")
_QUIET_IF_WELL = "/infer"
"""At the end of a path that is asked for every single slice, hundreds of times a second: counted, and no more."""
_UNMATCHED = "unmatched"
_LEAST_PROBLEM = 400
_CLOSED = 499
"""Status of a request whose sender went away before it was answered."""


class RequestWatch:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, tracing: Tracing) -> None:
        self._app = app
        self._telemetry = telemetry
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        watched = _Watched(self._telemetry, receive, send, request_id(headers))
        logs.bind(request=watched.id)
        self._telemetry.requests_in_progress.inc()
        try:
            with self._tracing.request(headers, method=scope["method"]) as span:
                try:
                    await self._app(scope, watched.receive, watched.send)
                except Exception:
                    watched.status = watched.status or 500
                    raise
                finally:
                    if span is not None:
                        _describe(span, scope, watched)
        finally:
            self._telemetry.requests_in_progress.dec()
            self._ended(scope, watched)

    def _ended(self, scope: Scope, watched: _Watched) -> None:
        seconds, status = time.perf_counter() - watched.began, watched.status or _CLOSED
        self._telemetry.request_ended(
            method=scope["method"],
            route=route(scope),
            status=status,
            seconds=seconds,
            reason=scope.get(PROBLEM),
        )
        logs.event(
            "request",
            level=logging.DEBUG if _is_quiet(scope["path"], status) else logging.INFO,
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=seconds,
            key=identity_of(scope).key_id or "none",
        )


@dataclass(slots=True)
class _Watched:
    """One request: what passes through in either direction."""

    _telemetry: Telemetry
    _receive: Receive
    _send: Send
    id: str
    status: int = 0
    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = time.perf_counter()

    async def receive(self) -> Message:
        message = await self._receive()
        if body := message.get("body"):
            self._telemetry.received_bytes.inc(len(body))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (_HEADER, self.id.encode())]
        elif body := message.get("body"):
            self._telemetry.sent_bytes.inc(len(body))
        await self._send(message)


def _is_quiet(path: str, status: int) -> bool:
    return path.startswith(_QUIET) or (path.endswith(_QUIET_IF_WELL) and status < _LEAST_PROBLEM)


def request_id(headers: MutableMapping[str, str]) -> str:
    """The sender's, where it is one that can stand in a log line, else a new one."""
    stated = headers.get("x-request-id", "")
    if _ID.fullmatch(stated):
        return stated
    return f"{random.getrandbits(128):032x}"  # no secret, so the system need not be asked for it, which takes long


def route(scope: Scope) -> str:
    """The template of the route that answered, such as /v1/scans/{scan_id}; the same word for all that have none."""
    template = getattr(scope.get("route"), "path", None)
    return template if isinstance(template, str) else _UNMATCHED


def _describe(span: Any, scope: Scope, watched: _Watched) -> None:
    span.update_name(f"{scope['method']} {route(scope)}")
    span.set_attribute("http.route", route(scope))
    span.set_attribute("url.path", scope["path"])
    span.set_attribute("http.response.status_code", watched.status or _CLOSED)
    span.set_attribute("ricefish.request", watched.id)
