"""/sign-in and /sign-out: a browser shows an API key once, and has a session from then on."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse

from serving.api.access import SIGN_IN, cookie_of
from serving.api.bodies import short_body
from serving.api.dependencies import Resources, resources_of
from serving.auth.authentication import NotAuthenticated
from serving.auth.origin import check_own_form
from serving.auth.sessions import COOKIE, SESSION_SECONDS
from serving.intake.refusals import RequestRefused
from serving.web.pages import PageRoute, page

_HOME: Final = "/"
_MOST_FIELDS: Final = 10
"""Of a form."""
_WITHIN: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path on this server, and nothing that a browser takes for another's address."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(SIGN_IN, name="show_sign_in")
async def show_sign_in(
    request: Request, after: Annotated[str, Query(alias="next", max_length=2000)] = _HOME
) -> Response:
    """The form for a key; where there are no keys, the page itself."""
    if not await resources_of(request).auth.needed():
        return RedirectResponse(_within(after), 303)
    return page(request, "sign_in.html", after=_within(after), refused=False)


@router.post(SIGN_IN, name="sign_in")
async def sign_in(request: Request) -> Response:
    """Begins a session with the key of the form. Raises ForeignOrigin for another page's form, and QuotaExceeded."""
    check_own_form(request.headers)
    resources = resources_of(request)
    fields = await _fields(request, resources)
    after, auth = _within(fields.get("next", _HOME)), resources.auth
    try:
        _, key = await auth.identify(fields.get("key", "").strip().encode("utf-8"))
    except NotAuthenticated:
        return page(request, "sign_in.html", status=401, after=after, refused=True)
    answer = RedirectResponse(after, 303)
    if key is not None:
        auth.quotas.take_request(key)
        session = await run_in_threadpool(auth.sessions.begin, key.id)
        _set_cookie(request, answer, session.token, seconds=round(SESSION_SECONDS))
    return answer


@router.post("/sign-out", name="sign_out")
async def sign_out(request: Request) -> Response:
    """Ends the session, and has the browser forget it. Raises ForgedRequest without the page's token."""
    resources = resources_of(request)
    fields = await _fields(request, resources)
    answer = RedirectResponse(SIGN_IN, 303)
    session = await resources.auth.sessions.find(cookie_of(request.headers) or "")
    if session is not None:
        session.check(fields.get("csrf_token"))
        await run_in_threadpool(resources.auth.sessions.end, session)
    _set_cookie(request, answer, "", seconds=0)
    return answer


async def _fields(request: Request, resources: Resources) -> dict[str, str]:
    """Of a form, each once. Raises RequestRefused, TooLarge, UploadStalled."""
    body = await short_body(request, resources)
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise RequestRefused(f"a form of more than {_MOST_FIELDS} fields", field="form") from None
    return {name: values[-1] for name, values in fields.items()}


def _set_cookie(request: Request, answer: Response, token: str, *, seconds: int) -> None:
    answer.set_cookie(
        COOKIE,
        token,
        max_age=seconds,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )


def _within(target: str) -> str:
    return target if _WITHIN.fullmatch(target) else _HOME
