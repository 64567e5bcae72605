"""/v1/models: what is served, and the registry's events."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request

from serving.api.bodies import short_body
from serving.api.dependencies import CallerResources
from serving.api.document import BODY, refusals
from serving.api.model_schemas import (
    ComparedCandidateResponse,
    EventResponse,
    FollowedResponse,
    ModelsResponse,
    PlaceResponse,
    RefusalResponse,
)
from serving.auth.identity import Identity
from serving.inference.candidates import ComparedCandidate
from serving.models.follower import Followed, Refusal
from serving.models.served import ServedReference

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", summary="List the models that are served")
async def list_models(resources: CallerResources) -> ModelsResponse:
    """All models that are served, the default first, and how it stands with the aliases that are followed."""
    followed = resources.follower.followed
    places = resources.models.places
    shown = [_place(one, followed.get(one.reference), places[0], resources.caller) for one in places]
    return ModelsResponse(models=shown)


@router.post(
    "/webhook",
    status_code=202,
    summary="Take an event of the registry",
    responses=refusals(*BODY, 401),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def take_event(request: Request, resources: CallerResources) -> EventResponse:
    """Takes an event of MLflow's in, signed with RICEFISH_WEBHOOK_SECRET: where an alias that is followed has moved,
    the registry is asked at once.
    """
    body = await short_body(request, resources)
    return EventResponse(followed=resources.webhook.take(body, request.headers))


def _place(
    place: ServedReference, followed: Followed | None, default: ServedReference, caller: Identity
) -> PlaceResponse:
    model = place.model
    return PlaceResponse(
        name=model.identity.name,
        version=model.identity.version,
        sha256=model.identity.sha256,
        default=place is default,
        reference=caller.shown(place.reference),
        since=_time(place.since_seconds),
        from_cache=place.trouble is not None,
        previous=None if place.before is None else place.before.identity.shown_version,
        precision=model.precision,
        provider=model.runtime.provider,
        engine=model.runtime.engine,
        threads=model.tuning.threads,
        lanes=model.tuning.lanes,
        compared=[_compared(one, caller) for one in model.tuning.compared],
        followed=None if followed is None else _followed(followed, caller),
    )


def _compared(compared: ComparedCandidate, caller: Identity) -> ComparedCandidateResponse:
    refused = None if compared.refused is None else caller.shown(compared.refused)
    return ComparedCandidateResponse(
        precision=compared.precision,
        engine=compared.engine,
        slices_per_second=compared.slices_per_second,
        refused=refused,
    )


def _followed(followed: Followed, caller: Identity) -> FollowedResponse:
    return FollowedResponse(
        registry_up=followed.registry_up,
        registry_reached=None if followed.reached_seconds is None else _time(followed.reached_seconds),
        trouble=None if followed.trouble is None else caller.shown(followed.trouble),
        refusal=None if followed.refusal is None else _refusal(followed.refusal, caller),
    )


def _refusal(refusal: Refusal, caller: Identity) -> RefusalResponse:
    return RefusalResponse(
        version=refusal.registered.version,
        reason=refusal.reason,
        detail=caller.shown(refusal.detail),
        at=_time(refusal.seconds),
        tries=refusal.tries,
        retry=None if refusal.retry_seconds is None else _time(refusal.retry_seconds),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
