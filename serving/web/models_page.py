"""/models: what is served, what the registry has beside it, what the gate says of it, and how far the shadow agrees."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from scans.registry.champion import CHAMPION, FORCED_BECAUSE, PROMOTED_BY, PROMOTION, ROLLED_BACK_AT, ROLLED_BACK_BY
from serving.api.dependencies import CallerResources, Resources
from serving.api.problem_table import NotFromRegistry
from serving.api.routes.models import list_models
from serving.api.routes.promotion import get_verdict, registered
from serving.api.routes.shadow import get_shadow
from serving.models.champions import before_champion
from serving.models.registry import ListedVersion, RegistryError, list_versions
from serving.models.served import ModelNotServed
from serving.models.weighing import VersionUnknown, at
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
        registered=registered(resources),
    )


@router.get("/models/versions", name="show_versions")
async def show_versions(
    resources: CallerResources, name: Annotated[str, Query(min_length=1, max_length=200)]
) -> Response:
    """The versions of a model that is served, as a part of the page; the registry may take its time, or be away."""
    content: dict[str, Any] = {"name": name, "versions": [], "trouble": None, "organs": [], "champion": None}
    content |= {"before": None, "admin": resources.caller.admin}
    if name not in registered(resources):
        content["trouble"] = "no model of this name is served from a registry"
    else:
        try:
            versions, before = await resources.slow_answers.make(lambda: _listed(name))
            content |= {"versions": [_shown(one) for one in versions], "organs": _organs(versions), "before": before}
            content["champion"] = None if (champion := at(versions, CHAMPION)) is None else champion.number
        except RegistryError as error:
            content["trouble"] = resources.caller.shown(str(error))
    return HTMLResponse(render("versions.html", figures=FIGURES, **content), headers={"Cache-Control": "no-store"})


@router.get("/models/verdict", name="show_verdict")
async def show_verdict(
    resources: CallerResources,
    name: Annotated[str, Query(min_length=1, max_length=200)],
    version: Annotated[int, Query(ge=1)],
) -> Response:
    """What the gate says of a version, as a part of the page, with what an admin may do about it."""
    content: dict[str, Any] = {"trouble": None, "verdict": None, "admin": resources.caller.admin}
    try:
        content["verdict"] = await get_verdict(resources, name, version)
    except (ModelNotServed, NotFromRegistry, VersionUnknown, RegistryError) as error:
        content["trouble"] = resources.caller.shown(str(error))
    return HTMLResponse(render("verdict.html", **content), headers={"Cache-Control": "no-store"})


def _listed(name: str) -> tuple[list[ListedVersion], int | None]:
    """All versions, and the one that the champion could be rolled back to."""
    versions = list_versions(name)
    return versions, before_champion(name, versions)


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
    """What the gate, or whoever overruled it, said of a version, and who moved the champion."""
    promoted, back = (f", by {by}" if (by := one.tags.get(who)) else "" for who in (PROMOTED_BY, ROLLED_BACK_BY))
    if (why := one.tags.get(FORCED_BECAUSE)) is not None:
        said = f"promoted by force{promoted}: {why}"
    else:
        said = f"passed the gate{promoted}" if PROMOTION in one.tags else "not promoted yet"
    return f"{said}; rolled back since{back}" if ROLLED_BACK_AT in one.tags else said
