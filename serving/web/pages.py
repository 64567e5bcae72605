"""Pages: what all of them share: templates, who looks at them, their policy, and how they say what went wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute, iter_route_contexts
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from serving.api import problems
from serving.api.access import session_of
from serving.auth.identity import identity_of
from serving.web import wording
from serving.web.assets import OWN, address

POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""No script and no style within a page, and nothing from elsewhere. The style sheet holds its icons itself."""

_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals.update(address=address, own=OWN)
_TEMPLATES.filters.update(wording.FILTERS)


def render(template: str, **content: Any) -> str:
    """A template of this package as text."""
    return _TEMPLATES.get_template(template).render(**content)


def page(request: Request, template: str, *, status: int = 200, **content: Any) -> HTMLResponse:
    """A template as a page for whoever asks for it."""
    identity, session = identity_of(request.scope), session_of(request.scope)
    html = render(
        template,
        here=request.url.path,
        identity=identity,
        session=session,
        csrf="" if session is None else session.csrf,
        **content,
    )
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(html, status, headers=headers)


def offers(request: Request, path: str) -> bool:
    """True where the server has a call of this path (a template, as in /v1/scans/{scan_id})."""
    return any(route.path == path for route in iter_route_contexts(request.app.routes))


class PageRoute(APIRoute):
    """A route whose refusals are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own, with a page for what is foreseen to go wrong in it."""
        handler = super().get_route_handler()

        async def with_pages(request: Request) -> Response:
            try:
                return await handler(request)
            except Exception as error:
                if not problems.is_foreseen(error):
                    raise
                return as_page(request, problems.answer(request, error))

        return with_pages


def as_page(request: Request, refused: Response) -> HTMLResponse:
    """A problem document as a page that says the same."""
    problem = json.loads(bytes(refused.body))
    shown = page(request, "problem.html", status=refused.status_code, problem=problem)
    for name in ("retry-after", "www-authenticate"):
        if name in refused.headers:
            shown.headers[name] = refused.headers[name]
    return shown
