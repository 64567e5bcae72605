"""GET /health/live, /health/ready and /v1/model."""

from __future__ import annotations

from fastapi import APIRouter

from serving.routes.given import Given
from serving.schemas import HealthResponse, OrganResponse, ServedModelResponse

router = APIRouter(tags=["server"])


@router.get("/health/live")
async def live() -> HealthResponse:
    """The process answers."""
    return HealthResponse(status="live")


@router.get("/health/ready")
async def ready(given: Given) -> HealthResponse:
    """Scans can be posted: the model has reproduced its golden slice, the store and the queue are open."""
    given.models.current  # noqa: B018  raises where there is none
    return HealthResponse(status="ready")


@router.get("/v1/model")
async def model(given: Given) -> ServedModelResponse:
    """The model that new scans are segmented with."""
    current = given.models.current
    manifest = current.manifest
    return ServedModelResponse(
        name=current.identity.name,
        version=current.identity.version,
        sha256=current.identity.sha256,
        organs=[OrganResponse(index=o.index, name=o.name, colour=o.colour) for o in manifest.organs.organs],
        provider=current.runtime.provider,
        precision=current.precision,
        spacing_mm=manifest.spacing_mm,
        intensity_range=manifest.intensity_range,
        metrics=dict(manifest.metrics),
        git_commit=manifest.git_commit,
        mlflow_run=manifest.mlflow_run,
    )
