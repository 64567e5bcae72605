"""GET /health/live, /health/ready, /metrics and /v1/model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response

from serving.api.dependencies import CallerResources, segmentation_model
from serving.api.model_schemas import ServedModelResponse
from serving.api.schemas import CheckResponse, HealthResponse, OrganResponse
from serving.observability.readiness import Check
from serving.observability.telemetry import CONTENT_TYPE, Telemetry

router = APIRouter(tags=["server"])


_UNHEALTHY: dict[int | str, dict[str, Any]] = {503: {"model": HealthResponse}}


@router.get("/health/live", summary="Is the process alive?", responses=_UNHEALTHY)
async def get_live(request: Request, response: Response) -> HealthResponse:
    """The process answers, and none of its threads has died. 503: only a new start helps."""
    resources = request.app.state.resources
    checks = [] if resources is None else resources.readiness.alive()
    return _health(response, "live", checks)


@router.get("/health/ready", summary="Can scans be posted?", responses=_UNHEALTHY)
async def get_ready(resources: CallerResources, response: Response) -> HealthResponse:
    """Scans can be posted: the model has reproduced its golden slice, database, store and scratch folder answer.

    503 says which of these is not so; also from the moment that the server is told to stop.
    """
    return _health(response, "ready", await resources.readiness.checks())


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {CONTENT_TYPE.partition(";")[0]: {"schema": {"type": "string"}}}}},
)
async def get_metrics(request: Request) -> Response:
    """Everything that is counted, for Prometheus."""
    telemetry: Telemetry = request.app.state.telemetry
    own_thread = CapacityLimiter(1)  # the common ones may all be waiting for a database
    exposition = await to_thread.run_sync(telemetry.exposition, limiter=own_thread)
    return Response(exposition, headers={"Content-Type": CONTENT_TYPE})


def _health(response: Response, state: Literal["live", "ready"], checks: Sequence[Check]) -> HealthResponse:
    response.headers["Cache-Control"] = "no-store"
    well = all(check.ok for check in checks)
    if not well:
        response.status_code = 503
    return HealthResponse(
        status=state if well else "not live" if state == "live" else "not ready",
        checks=[CheckResponse(**dataclasses.asdict(check)) for check in checks],
    )


@router.get("/v1/model", summary="The default model")
async def get_model(resources: CallerResources) -> ServedModelResponse:
    """The model that new scans are segmented with."""
    current = segmentation_model(resources)
    manifest = current.manifest
    return ServedModelResponse(
        name=current.identity.name,
        version=current.identity.version,
        sha256=current.identity.sha256,
        organs=[OrganResponse(index=o.index, name=o.name, colour=o.colour) for o in manifest.organs.organs],
        provider=current.runtime.provider,
        precision=current.precision,
        engine=current.runtime.engine,
        spacing_mm=manifest.spacing_mm,
        intensity_range=manifest.intensity_range,
        metrics=dict(manifest.metrics),
        git_commit=manifest.git_commit,
        mlflow_run=manifest.mlflow_run,
    )
