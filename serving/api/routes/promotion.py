"""/v1/models/NAME/verdict, promotion and rollback: what the gate says of a version, and moving the champion."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ValidationError

from scans.registry.champion import CHAMPION
from serving.api.bodies import short_body
from serving.api.dependencies import CallerResources, Resources
from serving.api.document import BODY, json_body, refusals
from serving.api.gate_answers import rows_of
from serving.api.problem_table import MoveRefused, NotFromRegistry
from serving.api.promotion_schemas import (
    PromotionRequest,
    PromotionResponse,
    RollbackRequest,
    RollbackResponse,
    VerdictResponse,
)
from serving.auth.identity import Identity
from serving.models.champions import SeenChampion
from serving.models.references import is_registered
from serving.models.registry import Reference
from serving.models.served import ModelNotServed
from serving.models.weighing import Weighed, weigh

router = APIRouter(prefix="/v1/models", tags=["models"])

Name = Annotated[str, Path(description="Name of a model that is served from the registry.")]
_Asked = TypeVar("_Asked", bound=BaseModel)


@router.get("/{name}/verdict", summary="What the gate says of a version", responses=refusals(409))
async def get_verdict(
    resources: CallerResources,
    name: Name,
    version: Annotated[int | None, Query(ge=1, description="Its number; the candidate else.")] = None,
) -> VerdictResponse:
    """Compares a version's Dice on the validation volumes with the champion's, by the scores stored with both, against
    the limits noted with the version. Nothing is moved.
    """
    check_registered(resources, name)
    weighed = await resources.slow_answers.make(lambda: weigh(name, version))
    return _verdict(weighed, resources.caller)


@router.post(
    "/{name}/promotion",
    summary="Make a version the champion",
    responses=refusals(*BODY, 409),
    openapi_extra=json_body(PromotionRequest),
)
async def promote(request: Request, resources: CallerResources, name: Name) -> PromotionResponse:
    """Moves the champion, which servers follow, where the gate says yes, or where `force` gives a reason.

    409 `gate-refused`, with a row for each organ, where it says no; 409 `not-promotable` where the files of the version
    are not whole, whatever the reason.
    """
    check_registered(resources, name)
    asked = await _asked(PromotionRequest, request, resources)
    seen = SeenChampion(asked.champion) if "champion" in asked.model_fields_set else None
    by = resources.caller.reviewer
    done = await resources.slow_answers.make(
        lambda: resources.champions.promote(name, asked.version, by=by, seen=seen, force=asked.force or "")
    )
    before = done.weighed.champion
    return PromotionResponse(
        name=name,
        version=done.weighed.version.number,
        before=None if before is None else before.number,
        promotion=done.said,
        by=by,
        served=_follows(resources, name),
        verdict=_verdict(done.weighed, resources.caller),
    )


@router.post(
    "/{name}/rollback",
    summary="Make the champion of before the champion again",
    responses=refusals(*BODY, 409),
    openapi_extra=json_body(RollbackRequest),
)
async def roll_back(request: Request, resources: CallerResources, name: Name) -> RollbackResponse:
    """Moves the champion back to the version that was it before; another time, to the one before that."""
    check_registered(resources, name)
    asked = await _asked(RollbackRequest, request, resources)
    seen = None if asked.champion is None else SeenChampion(asked.champion)
    by = resources.caller.reviewer
    done = await resources.slow_answers.make(lambda: resources.champions.rollback(name, by=by, seen=seen))
    return RollbackResponse(name=name, version=done.now, before=done.was, by=by, served=_follows(resources, name))


def registered(resources: Resources) -> list[str]:
    """Names of the models that are served from a registry, each once."""
    references = [place.reference for place in resources.models.places]
    return list(dict.fromkeys(Reference.parse(one).name for one in references if is_registered(one)))


def check_registered(resources: Resources, name: str) -> None:
    """Raises NotFromRegistry for a model that is served from a folder, ModelNotServed for one that is not served."""
    names = registered(resources)
    if name in names:
        return
    if name in [place.model.identity.name for place in resources.models.places]:
        raise NotFromRegistry(
            f"{name} is served from a folder, which has no versions; register it (`dvc repro register`) and start the "
            f"server with --model models:/NAME@{CHAMPION}"
        )
    raise ModelNotServed(f"no model {name} is served from a registry; there are {', '.join(names) or 'none'}")


def _follows(resources: Resources, name: str) -> bool:
    followed = [Reference.parse(one) for one in resources.follower.followed]
    return any(one.name == name and one.alias == CHAMPION for one in followed)


async def _asked(kind: type[_Asked], request: Request, resources: Resources) -> _Asked:
    body = await short_body(request, resources)
    try:
        return kind.model_validate_json(body if body.strip() else b"{}")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise MoveRefused(f"{field}: {first['msg']}", field=field) from None


def _verdict(weighed: Weighed, caller: Identity) -> VerdictResponse:
    return VerdictResponse(
        name=weighed.name,
        version=weighed.version.number,
        champion=None if weighed.champion is None else weighed.champion.number,
        is_champion=weighed.is_champion,
        passed=weighed.passed,
        failures=[caller.shown(failure) for failure in weighed.failures],
        volumes=None if weighed.verdict is None else weighed.verdict.volumes,
        rows=rows_of(weighed),
        shadow=weighed.shadow,
    )
