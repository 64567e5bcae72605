"""Gate answers: the rows of a verdict, as calls and refusals show them."""

from __future__ import annotations

from serving.api.promotion_schemas import GateRowResponse
from serving.models.weighing import Weighed


def rows_of(weighed: Weighed) -> list[GateRowResponse]:
    """The mean first, then each organ; empty where there was no way to tell."""
    rows = () if weighed.verdict is None else weighed.verdict.rows
    return [GateRowResponse.model_validate(row, from_attributes=True) for row in rows]
