"""What every refusal is, field by field."""

from __future__ import annotations

from pydantic import BaseModel, Field

from serving.api.promotion_schemas import GateRowResponse


class ProblemResponse(BaseModel):
    """RFC 9457: what is wrong, and what would be right."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    file: str | None = None
    field: str | None = None
    found: str | None = None
    accepted: str | None = None
    limit: str | None = Field(default=None, description="Of a full queue, what is reached: scans, bytes, age, slices.")
    waiting: int | None = Field(default=None, description="How much waits, in the limit's unit: age is in seconds.")
    most: int | None = Field(default=None, description="How much may.")
    rows: list[GateRowResponse] | None = Field(default=None, description="Of a gate that says no: each figure.")
