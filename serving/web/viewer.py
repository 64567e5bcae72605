"""/v/ID/: Neuroglancer's client, which shows a scan and its organs in three planes and in space, and what it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from serving.api.dependencies import CallerResources, database_answers
from serving.api.responses import ScanId
from serving.web.assets import asset
from serving.web.viewer_state import organ_properties

VIEWER_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
"""The client makes functions of text where it unpacks chunks, and writes styles into its elements; no more is let."""

_CLIENT: Final = "neuroglancer"
_INDEX: Final = "index.html"
_LOOKING_SECONDS: Final = 0.5

router = APIRouter(include_in_schema=False)
pages = APIRouter(include_in_schema=False, dependencies=[Depends(database_answers)])


@router.get("/v/{scan}/{file:path}", name="viewer_file")
def get_client(request: Request, scan: Annotated[str, Path(max_length=64)], file: str = "") -> Response:
    """A file of the client, the same for every scan; which one is meant, and what is shown of it, the fragment says."""
    name = file or _INDEX
    answer = asset(request, _CLIENT, name, for_ever=name != _INDEX)
    answer.headers["Content-Security-Policy"] = VIEWER_POLICY
    return answer


async def _known(resources: CallerResources, scan_id: ScanId) -> str:
    await run_in_threadpool(resources.jobs.scan, scan_id)
    return scan_id


@pages.get("/events/{scan_id}", response_class=EventSourceResponse, name="viewer_events")
async def get_viewer_events(
    resources: CallerResources,
    scan_id: Annotated[str, Depends(_known)],
    _client: Annotated[str, Query(alias="c")] = "",
    _config: Annotated[str, Query(alias="gc")] = "",
    _state: Annotated[str, Query(alias="gs")] = "",
) -> AsyncIterable[ServerSentEvent]:
    """A stream that the client wants open for as long as its server is there. Nothing is said in it."""
    while not resources.readiness.draining:
        await asyncio.sleep(_LOOKING_SECONDS)
    yield ServerSentEvent(comment="the server stops")


@pages.get("/scans/{scan_id}/organ-names/info", name="organ_names")
def get_organ_names(resources: CallerResources, scan_id: ScanId) -> dict[str, Any]:
    """Names of the organs, as the client reads them."""
    return dict(organ_properties(resources.jobs.scan(scan_id)))
