"""What the server answers about its shadow, field by field."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class ComparedModelResponse(BaseModel):
    """One of two models that segmented the same scans."""

    name: str
    version: str | None = Field(description="Version in the registry; null for a model from a folder.")


class WorstScanResponse(BaseModel):
    """Where two models agree least about an organ."""

    scan: str | None = Field(description="Its id; null where it has been removed or is another owner's.")
    dice: float


class OrganAgreementResponse(BaseModel):
    """How alike two models segment an organ that both know."""

    name: str
    dice: float | None = Field(description="Mean over the scans that either found it in; null where there is none.")
    scans: int = Field(description="That the mean is over.")
    left_out: int = Field(description="Scans in which neither found it.")
    worst: WorstScanResponse | None


class ComparisonResponse(BaseModel):
    """A shadow beside the model whose answers were given out."""

    champion: ComparedModelResponse
    shadow: ComparedModelResponse
    scans: int
    latest: datetime = Field(description="When the latest scan was compared.")
    mean_dice: float | None = Field(description="Mean over the organs that have one.")
    organs: list[OrganAgreementResponse]


class ShadowResponse(BaseModel):
    """What the shadow is, and what came of it, the pair that was compared latest first."""

    reference: str | None = Field(description="RICEFISH_SHADOW of this server; null where there is none.")
    share: float = Field(description="Of the scans that succeed, which are compared.")
    waiting: int = Field(description="Scans that wait to be compared, or are being compared.")
    given_up: int = Field(description="Scans that could not be compared; the log says why.")
    note: str | None = Field(description="Why there may be nothing to compare.")
    comparisons: list[ComparisonResponse]
