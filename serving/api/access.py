"""Access: who may call what. One table says it for every path; what it does not name is the administrators'."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from serving.api import problems
from serving.auth.authentication import Auth, NotAllowed, NotAuthenticated
from serving.auth.identity import IDENTITY, Scope
from serving.auth.keys import Key
from serving.auth.origin import ForeignOrigin, Origins, came_by_network
from serving.auth.quotas import QuotaExceeded
from serving.intake.refusals import RequestRefused
from serving.parsing.quantities import optional_number

Needs = frozenset[Scope]

OPEN: Final[Needs] = frozenset()
"""Answered to all, without a look at any key."""
_ADMIN: Final[Needs] = frozenset({"admin"})

PATHS: Final[dict[str, Needs]] = {
    "/health": OPEN,
    "/v2/health": OPEN,
    "/docs": OPEN,
    "/openapi.json": OPEN,
    "/static-offline-docs": OPEN,
    "/metrics": _ADMIN,
    "/v1/model": frozenset({"segment", "review"}),
    "/v1/models": frozenset({"segment", "review"}),
    "/v1/models/webhook": OPEN,
    "/v1/models/shadow": frozenset({"review"}),
    "/v1/reviews": frozenset({"review"}),
    "/v1/scans": frozenset({"segment"}),
    "/v1/scans/*/slices": frozenset({"segment", "review"}),
    "/v1/uploads": frozenset({"segment"}),
    "/v2": frozenset({"segment"}),
    "/v2/repository/models": _ADMIN,
    "/v2/systemsharedmemory": _ADMIN,
    "/v2/cudasharedmemory": _ADMIN,
}
"""For a path and all below it, the scopes of which a key needs one; the longest path counts, and admin always does.

`*` stands for any scan's id."""
_SCANS: Final = "/v1/scans/"

IN_OUTAGE: Final = frozenset({"/metrics"})
"""Answered to keys that were good when the database last answered, so that nobody is blind while it does not."""


def needs(path: str, *, metrics_open: bool = False) -> Needs:
    """The scopes of which a request for this path needs one."""
    if metrics_open and path == "/metrics":
        return OPEN
    path = _of_any_scan(path)
    while path:
        if path in PATHS:
            return PATHS[path]
        path = path.rpartition("/")[0]
    return _ADMIN


def _of_any_scan(path: str) -> str:
    """The path with `*` in the place of a scan's id."""
    if not path.startswith(_SCANS):
        return path
    _, separator, rest = path.removeprefix(_SCANS).partition("/")
    return f"{_SCANS}*{separator}{rest}"


ONCE: Final = frozenset(
    {
        *("host", "origin", "sec-fetch-site", "sec-fetch-mode", "authorization", "x-api-key"),
        *("content-type", "content-length", "idempotency-key", "x-request-id"),
        *("tus-resumable", "upload-offset", "upload-length", "upload-defer-length", "upload-metadata"),
        *("upload-checksum", "inference-header-content-length"),
    }
)
"""Headers of one value: which of two is meant, nobody can say, and what stands before the server may say otherwise."""

_REFUSED: Final = (
    *(problems.NotReady, NotAuthenticated, NotAllowed, ForeignOrigin, QuotaExceeded),
    *problems.NO_ANSWER,
)


class Access:
    """Lets through what a key may do, and refuses the rest before a byte of its body is read."""

    def __init__(self, app: ASGIApp, *, origins: Origins, metrics_open: bool = False) -> None:
        self._app = app
        self._origins = origins
        self._metrics_open = metrics_open

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and (twice := _given_twice(Headers(scope=scope))) is not None:
            refused = RequestRefused(f"the header {twice} is given several times; give it once", field=twice)
            await problems.answer(Request(scope), refused)(scope, receive, send)
            return
        if scope["type"] == "lifespan" or (
            scope["type"] == "http" and needs(scope["path"], metrics_open=self._metrics_open) is OPEN
        ):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise NotImplementedError(f"{scope['type']} has no rules of access")
        try:
            auth, key = await self._admitted(scope)
        except _REFUSED as error:
            await problems.answer(Request(scope), error)(scope, receive, send)
            return
        if key is None:
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, _counted(receive, auth, key), send)
        finally:
            with suppress(SQLAlchemyError):  # the request is answered; what was not written is with the next one
                await auth.settle(key)

    async def _admitted(self, scope: AsgiScope) -> tuple[Auth, Key | None]:
        resources = scope["app"].state.resources
        if resources is None:
            raise problems.NotReady("the server is starting or stopping")
        auth: Auth = resources.auth
        headers = Headers(scope=scope)
        identity, key = await auth.identify(_presented(headers), in_outage=scope["path"] in IN_OUTAGE)
        wanted = needs(scope["path"], metrics_open=self._metrics_open)
        if not identity.may(*wanted):
            raise NotAllowed(f"this key has not the scope {' or '.join(sorted(wanted))}")
        scope[IDENTITY] = identity
        if key is None and came_by_network(scope.get("client")):
            self._origins.check(scope["method"], headers)
        if key is not None:
            auth.quotas.take_request(key)
            length = optional_number(headers.get("content-length"))
            if length is not None or "transfer-encoding" in headers:
                auth.quotas.check_bytes(key, length or 1)
        return auth, key


def _given_twice(headers: Headers) -> str | None:
    """The first header of one value that comes with more."""
    return next((name for name, times in Counter(headers.keys()).items() if times > 1 and name in ONCE), None)


def _presented(headers: Headers) -> bytes | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    shown = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")
    return None if shown is None else shown.encode("latin-1")


def _counted(receive: Receive, auth: Auth, key: Key) -> Receive:
    if key.bytes_per_day is None:
        return receive

    async def counted() -> Message:
        message = await receive()
        if body := message.get("body"):
            await auth.quotas.add_bytes(key.id, len(body))
            auth.quotas.check_bytes(key, 0)
        return message

    return counted
