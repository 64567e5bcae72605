"""GET /v1/models/shadow: how far the shadow agrees with the models whose answers were given out."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from serving.api.dependencies import CallerResources
from serving.api.shadow_schemas import (
    ComparedModelResponse,
    ComparisonResponse,
    OrganAgreementResponse,
    ShadowResponse,
    WorstScanResponse,
)
from serving.auth.identity import Identity
from serving.shadow.report import Compared, OrganReport, PairReport, Standing

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("/shadow", summary="How far the shadow agrees")
def get_shadow(resources: CallerResources) -> ShadowResponse:
    """Dice per organ between the shadow and what was answered, for each pair of models, the latest first."""
    standing = resources.shadow.report.standing()
    return ShadowResponse(
        reference=resources.caller.shown(resources.shadow.reference) or None,
        share=resources.shadow.share,
        waiting=standing.waiting,
        given_up=standing.given_up,
        note=_note(resources.caller.shown(resources.shadow.reference), standing),
        comparisons=[_comparison(pair, resources.caller) for pair in resources.shadow.report.pairs()],
    )


def _note(reference: str, standing: Standing) -> str | None:
    if not reference:
        return "this server has no shadow: RICEFISH_SHADOW is not set"
    if standing.same is not None:
        version = f" version {standing.same.version}" if standing.same.version else ""
        return f"{reference} is {standing.same.name}{version}, which is the model that answers: nothing to compare"
    return None


def _comparison(pair: PairReport, caller: Identity) -> ComparisonResponse:
    return ComparisonResponse(
        champion=_model(pair.champion),
        shadow=_model(pair.shadow),
        scans=pair.scans,
        latest=datetime.fromtimestamp(pair.finished_seconds, UTC),
        mean_dice=pair.agreement.mean_dice,
        organs=[_organ(organ, caller) for organ in pair.organs],
    )


def _model(model: Compared) -> ComparedModelResponse:
    return ComparedModelResponse(name=model.name, version=model.version)


def _organ(organ: OrganReport, caller: Identity) -> OrganAgreementResponse:
    worst = None
    if organ.worst is not None:
        seen = caller.sees(organ.worst.owner)
        worst = WorstScanResponse(scan=organ.worst.scan_id if seen else None, dice=organ.worst.dice)
    return OrganAgreementResponse(
        name=organ.name, dice=organ.dice, scans=organ.scans, left_out=organ.left_out, worst=worst
    )
