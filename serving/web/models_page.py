"""/models: what is served, what the registry has beside it, and how far the shadow agrees."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from serving.api.dependencies import CallerResources, Resources
from serving.api.routes.models import list_models
from serving.api.routes.shadow import get_shadow
from serving.models.references import is_registered
from serving.models.registry import ListedVersion, Reference, RegistryError, list_versions
from serving.web.pages import PageRoute, page, render

FIGURES: Final = {
    "mean_dice": "Mean Dice",
    "control.mean_dice": "Control's Dice",
    "mean_iou": "Mean IoU",
}
"""Tags of a version that are shown side by side."""
_ORGAN_DICE: Final = re.compile(r"dice\.(.+)")

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/models", name="show_models")
async def show_models(request: Request, resources: CallerResources) -> Response:
    """The models that are served; what the registry says is asked for by the page when it is shown."""
    served = (await list_models(resources)).models
    shadow = await run_in_threadpool(get_shadow, resources) if resources.caller.may("review") else None
    return page(
        request,
        "models.html",
        models=served,
        metrics=_metrics(resources),
        shadow=shadow,
        registered=_registered(resources),
    )


@router.get("/models/versions", name="show_versions")
async def show_versions(
    resources: CallerResources, name: Annotated[str, Query(min_length=1, max_length=200)]
) -> Response:
    """The versions of a model that is served, as a part of the page; the registry may take its time, or be away."""
    content: dict[str, Any] = {"name": name, "versions": [], "trouble": None, "organs": []}
    if name not in _registered(resources):
        content["trouble"] = "no model of this name is served from a registry"
    else:
        try:
            versions = await resources.slow_answers.make(lambda: list_versions(name))
            content |= {"versions": [_shown(one) for one in versions], "organs": _organs(versions)}
        except RegistryError as error:
            content["trouble"] = resources.caller.shown(str(error))
    return HTMLResponse(render("versions.html", figures=FIGURES, **content), headers={"Cache-Control": "no-store"})


def _registered(resources: Resources) -> list[str]:
    """Names of the models that are served from a registry, each once."""
    references = [place.reference for place in resources.models.places]
    return list(dict.fromkeys(Reference.parse(one).name for one in references if is_registered(one)))


def _metrics(resources: Resources) -> dict[str, dict[str, float]]:
    """Of each model that is served, by its hash, what its manifest says of its accuracy."""
    return {place.model.identity.sha256: dict(place.model.manifest.metrics) for place in resources.models.places}


def _organs(versions: list[ListedVersion]) -> list[str]:
    """Organs whose Dice any of them states."""
    found = (_ORGAN_DICE.fullmatch(tag) for one in versions for tag in sorted(one.tags))
    return list(dict.fromkeys(match.group(1) for match in found if match))


def _shown(one: ListedVersion) -> dict[str, Any]:
    return {
        "number": one.number,
        "aliases": one.aliases,
        "registered": datetime.fromtimestamp(one.created_ms / 1000, UTC),
        "commit": one.tags.get("git_commit", "")[:10],
        "figures": {key: value for key in FIGURES if (value := _figure(one.tags.get(key))) is not None},
        "organs": {
            match.group(1): value
            for tag, said in one.tags.items()
            if (match := _ORGAN_DICE.fullmatch(tag)) and (value := _figure(said)) is not None
        },
        "verdict": _verdict(one),
    }


def _figure(said: str | None) -> float | None:
    """A number in a tag; None for what anybody may have written there instead."""
    try:
        return None if said is None else float(said)
    except ValueError:
        return None


def _verdict(one: ListedVersion) -> str:
    """What the gate, or whoever overruled it, said of a version."""
    if (why := one.tags.get("forced_because")) is not None:
        return f"promoted by force: {why}"
    if "rolled_back_at" in one.tags:
        return "promoted, and rolled back since"
    return "passed the gate" if "promotion" in one.tags else "not asked for yet"
