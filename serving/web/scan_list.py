"""The page at /: scans in rows that are kept up to date, and where files are dropped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import RedirectResponse

from serving.api.dependencies import CallerResources, Resources, database_answers
from serving.api.problem_table import RETRY_SECONDS
from serving.api.responses import known_form, scan_response
from serving.api.schemas import ScanResponse
from serving.observability import logs
from serving.observability.reasons import reason
from serving.queue.jobs import State
from serving.web.pages import PageRoute, page, render

Flagged = Literal["any", "warnings", "quality", "none"]

_ROWS: Final = 50
_SEARCHED: Final = 500
"""Scans with warnings among which those of bad quality are looked for."""
_LASTS_SECONDS: Final = 60.0
"""Of one stream of rows."""
_LOOKING_SECONDS: Final = 1.0
_FLAGS: Final[dict[Flagged, bool | None]] = {"any": None, "warnings": True, "quality": True, "none": False}
_BAD: Final = "quality"
"""Code of the warning that the Quality Classifier calls too many slices bad."""

router = APIRouter(include_in_schema=False, route_class=PageRoute, dependencies=[Depends(database_answers)])
streams = APIRouter(include_in_schema=False, dependencies=[Depends(database_answers)])

StateFilter = Annotated[State | Literal["any"], Query()]
FlagFilter = Annotated[Flagged, Query()]


@router.get("/", name="show_scans")
async def show_scans(
    request: Request,
    resources: CallerResources,
    state: StateFilter = "any",
    flag: FlagFilter = "any",
    before: Annotated[str | None, Query(), AfterValidator(lambda stated: stated and known_form(stated))] = None,
) -> Response:
    """The caller's scans, the newest first; who only reviews is shown the reviews."""
    if not resources.caller.may("segment"):
        return RedirectResponse("/reviews", 303)
    scans = await run_in_threadpool(_scans, resources, state, flag, before)
    model = resources.models.current if resources.models.served() else None
    return page(
        request,
        "scans.html",
        scans=scans,
        state=state,
        flag=flag,
        before=before,
        more=len(scans) == _ROWS,
        model=None if model is None else model.identity,
    )


@streams.get("/scans/rows", response_class=EventSourceResponse, name="follow_scans")
async def follow_scans(
    resources: CallerResources, state: StateFilter = "any", flag: FlagFilter = "any"
) -> AsyncIterable[ServerSentEvent]:
    """Rows as they change: `row-ID` is a new row for one that is shown, `list` are all rows, where one came or went."""
    shown: dict[str, ScanResponse] = {}
    known = False
    until = time.monotonic() + _LASTS_SECONDS  # then the browser asks again, and whether it still may is looked at
    while not resources.readiness.draining and time.monotonic() < until:
        try:
            scans = await run_in_threadpool(_scans, resources, state, flag, None)
        except SQLAlchemyError as error:  # the stream is longer than the outage
            logs.event("database_failed", level=logging.ERROR, doing="follow", error=reason(error))
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if [scan.id for scan in scans] != list(shown) or not known:
            yield ServerSentEvent(event="list", raw_data=_rows(scans))
        else:
            for scan in scans:
                if scan != shown[scan.id]:
                    yield ServerSentEvent(event=f"row-{scan.id}", raw_data=_rows([scan]))
        shown, known = {scan.id: scan for scan in scans}, True
        await asyncio.sleep(_LOOKING_SECONDS)


def _scans(resources: Resources, state: str, flag: Flagged, before: str | None) -> list[ScanResponse]:
    """Raises ScanNotFound for a page after a scan that there is not."""
    earlier = None if before is None else resources.jobs.scan(before).created_seconds
    states: dict[str, Any] = {} if state == "any" else {"states": (state,)}
    limit = _SEARCHED if flag == _BAD else _ROWS
    found = resources.jobs.page(limit=limit, before=earlier, flagged=_FLAGS[flag], **states)
    if flag == _BAD:
        found = [one for one in found if any(warning.code == _BAD for warning in one[1].warnings)][:_ROWS]
    return [scan_response(scan, job) for scan, job in found]


def _rows(scans: list[ScanResponse]) -> str:
    return " ".join(render("rows.html", scans=scans).split("\n"))
