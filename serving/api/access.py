"""Access: who may call what. One table says it for every path; what it does not name is the administrators'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from serving.api import problems
from serving.api.problem_table import NO_ANSWER, NotReady
from serving.auth.authentication import Auth, NotAllowed, NotAuthenticated
from serving.auth.identity import IDENTITY, Identity, Scope
from serving.auth.keys import Key
from serving.auth.origin import ForeignOrigin, Origins, came_by_network
from serving.auth.quotas import QuotaExceeded
from serving.auth.sessions import COOKIE, CSRF_HEADER, ForgedRequest, Session
from serving.intake.refusals import RequestRefused
from serving.parsing.quantities import optional_number

Needs = frozenset[Scope]

OPEN: Final[Needs] = frozenset()
"""Answered to all, without a look at any key."""
_ADMIN: Final[Needs] = frozenset({"admin"})

PATHS: Final[dict[str, Needs]] = {
    "/": frozenset({"segment", "review"}),
    "/sign-in": OPEN,
    "/sign-out": OPEN,
    "/static": OPEN,
    "/v": OPEN,
    "/events": frozenset({"segment"}),
    "/scans": frozenset({"segment"}),
    "/reviews": frozenset({"review"}),
    "/models": frozenset({"segment", "review"}),
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
    "/v1/models/*/promotion": _ADMIN,
    "/v1/models/*/rollback": _ADMIN,
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

`*` stands for any scan's id, and any model's name."""
_NAMED: Final = ("/v1/scans/", "/v1/models/")
"""What ids and names follow."""

IN_OUTAGE: Final = frozenset({"/metrics"})
"""Answered to keys that were good when the database last answered, so that nobody is blind while it does not."""


def needs(path: str, *, metrics_open: bool = False) -> Needs:
    """The scopes of which a request for this path needs one."""
    if metrics_open and path == "/metrics":
        return OPEN
    path = _of_any(path)
    while path:
        if path in PATHS:
            return PATHS[path]
        path = path.rpartition("/")[0]
    return _ADMIN


SIGN_IN: Final = "/sign-in"
"""Where people show a key."""
SESSION: Final = "ricefish.session"
"""Where in an ASGI scope the session stands that a request came with."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


def _of_any(path: str) -> str:
    """The path with `*` in the place of a scan's id or a model's name, where more follows."""
    for before in _NAMED:
        _, separator, rest = path.removeprefix(before).partition("/")
        if path.startswith(before) and separator:
            return f"{before}*/{rest}"
    return path


ONCE: Final = frozenset(
    {
        *("host", "origin", "sec-fetch-site", "sec-fetch-mode", "authorization", "x-api-key", "cookie", CSRF_HEADER),
        *("content-type", "content-length", "idempotency-key", "x-request-id"),
        *("tus-resumable", "upload-offset", "upload-length", "upload-defer-length", "upload-metadata"),
        *("upload-checksum", "inference-header-content-length"),
    }
)
"""Headers of one value: which of two is meant, nobody can say, and what stands before the server may say otherwise."""

_REFUSED: Final = (
    *(NotReady, NotAuthenticated, NotAllowed, ForeignOrigin, ForgedRequest, QuotaExceeded),
    *NO_ANSWER,
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
            elsewhere = _to_sign_in(scope) if isinstance(error, NotAuthenticated) else None
            await (elsewhere or problems.answer(Request(scope), error))(scope, receive, send)
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
            raise NotReady("the server is starting or stopping")
        auth: Auth = resources.auth
        headers = Headers(scope=scope)
        identity, key, session = await _identified(auth, headers, in_outage=scope["path"] in IN_OUTAGE)
        if session is not None and scope["method"] not in _SAFE:
            session.check(headers.get(CSRF_HEADER))
        wanted = needs(scope["path"], metrics_open=self._metrics_open)
        if not identity.may(*wanted):
            raise NotAllowed(f"this key has not the scope {' or '.join(sorted(wanted))}")
        scope[IDENTITY], scope[SESSION] = identity, session
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


def session_of(scope: Mapping[str, Any]) -> Session | None:
    """The session that a request came with; None without one, where its key came in a header, and without keys."""
    session: Session | None = scope.get(SESSION)
    return session


def cookie_of(headers: Mapping[str, str]) -> str | None:
    """What the session's cookie holds; None where there is none."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


async def _identified(auth: Auth, headers: Headers, *, in_outage: bool) -> tuple[Identity, Key | None, Session | None]:
    """By the key in a header, or else by the session's cookie. Raises as `Auth` does."""
    shown, cookie = _presented(headers), cookie_of(headers)
    if shown is None and cookie is not None and await auth.needed():
        return await auth.identify_session(cookie)
    return *(await auth.identify(shown, in_outage=in_outage)), None


def _to_sign_in(scope: AsgiScope) -> RedirectResponse | None:
    """Where a browser goes that was to show a page to somebody who has not signed in; None for what is no page."""
    if scope["method"] != "GET" or "text/html" not in Headers(scope=scope).get("accept", ""):
        return None
    query = scope["query_string"].decode("latin-1")
    target = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"{SIGN_IN}?next={quote(target, safe='')}", 303, {"Cache-Control": "no-store"})


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
