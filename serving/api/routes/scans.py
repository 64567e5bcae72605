"""/v1/scans: follow scans, and move them in the queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator
from sqlalchemy.exc import SQLAlchemyError

from serving.api.dependencies import CallerResources, database_answers
from serving.api.document import refusals
from serving.api.problem_table import RETRY_SECONDS
from serving.api.query import Flag
from serving.api.responses import ScanId, known_form, possible_key, scan_response
from serving.api.schemas import ScanResponse, ScansResponse
from serving.observability import logs
from serving.observability.reasons import reason
from serving.queue.jobs import ENDED, ScanNotFound, State
from serving.queue.worker import Ending

_LOOKING_SECONDS = 0.5

router = APIRouter(prefix="/v1/scans", tags=["scans"], dependencies=[Depends(database_answers)])


@router.get("", summary="List scans", responses=refusals(404))
def list_scans(  # noqa: PLR0917 - FastAPI passes parameters by name
    resources: CallerResources,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[
        str | None,
        Query(description="The id of the last scan of the page before this one."),
        AfterValidator(lambda stated: stated and known_form(stated)),
    ] = None,
    state: Annotated[State | None, Query(description="Only scans in this state.")] = None,
    flagged: Annotated[Flag | None, Query(description="Only scans with warnings, or only those without.")] = None,
    idempotency_key: Annotated[
        str | None,
        Query(description="Only the scan that was posted with this Idempotency-Key.", min_length=1, max_length=255),
        AfterValidator(lambda stated: stated and possible_key(stated)),
    ] = None,
) -> ScansResponse:
    """Scans, the newest first, page by page."""
    earlier = None if before is None else resources.jobs.scan(before).created_seconds
    states = {} if state is None else {"states": (state,)}
    found = resources.jobs.page(limit=limit, before=earlier, flagged=flagged, key=idempotency_key, **states)
    return ScansResponse(scans=[scan_response(scan, job) for scan, job in found])


@router.get("/{scan_id}", summary="How far a scan is")
def get_scan(resources: CallerResources, scan_id: ScanId) -> ScanResponse:
    """A scan's state and progress."""
    return scan_response(*resources.jobs.get(scan_id))


async def _known(resources: CallerResources, scan_id: ScanId) -> str:
    await run_in_threadpool(resources.jobs.scan, scan_id)
    return scan_id


@router.get("/{scan_id}/events", summary="Follow a scan", response_class=EventSourceResponse)
async def get_events(
    resources: CallerResources, scan_id: Annotated[str, Depends(_known)]
) -> AsyncIterable[ServerSentEvent]:
    """The scan's state and progress, each time they change, as server-sent events named after the state.

    The stream ends with the scan, or when the server stops; `deleted` is the last event of one that is removed.
    """
    before: ScanResponse | None = None
    while True:
        try:
            now = scan_response(*await run_in_threadpool(resources.jobs.get, scan_id))
        except ScanNotFound:
            yield ServerSentEvent(event="deleted", data={"id": scan_id})
            return
        except SQLAlchemyError as error:  # the stream is longer than the outage
            logs.event("database_failed", level=logging.ERROR, doing="follow", error=reason(error))
            await asyncio.sleep(RETRY_SECONDS)
            if resources.readiness.draining:
                return
            continue
        if now != before:
            yield ServerSentEvent(event=now.state, data=now, id=str(now.slices_done))
            before = now
        if now.state in ENDED or resources.readiness.draining:
            return
        await asyncio.sleep(_LOOKING_SECONDS)


@router.post("/{scan_id}/cancel", summary="Cancel a scan", responses=refusals(409))
def cancel_scan(resources: CallerResources, scan_id: ScanId) -> ScanResponse:
    """Ends a scan within the batch under way; its file stays, so that it can be tried again."""
    resources.jobs.cancel(scan_id)
    resources.observer.scan_ended(Ending.CANCELLED.value, final=True)
    return scan_response(*resources.jobs.get(scan_id))


@router.post("/{scan_id}/retry", status_code=202, summary="Try a scan again", responses=refusals(409))
async def retry_scan(resources: CallerResources, scan_id: ScanId) -> ScanResponse:
    """Queues a failed or cancelled scan again, at the slab where it stopped."""
    scan, job = await run_in_threadpool(resources.jobs.get, scan_id)
    async with resources.admission.taking(job.priority, scan.upload.bytes):
        await run_in_threadpool(resources.jobs.retry, scan_id)
    return scan_response(*await run_in_threadpool(resources.jobs.get, scan_id))


@router.delete("/{scan_id}", status_code=204, summary="Remove a scan")
def delete_scan(resources: CallerResources, scan_id: ScanId) -> None:
    """Cancels the scan within the batch under way, where it is not finished, and removes all of it."""
    resources.janitor.remove(resources.jobs.scan(scan_id).id)
    resources.known_stores.forget(scan_id)
