"""What the server takes and answers of moving a champion, field by field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from serving.parsing.texts import is_name

_LONGEST_REASON = 2000


def _reason(text: str) -> str:
    written = " ".join(text.split())
    if not is_name(written, longest=_LONGEST_REASON):
        raise ValueError(f"a reason is 1 to {_LONGEST_REASON} characters that can be printed")
    return written


class PromotionRequest(BaseModel, extra="forbid"):
    """Which version is to be champion, and instead of which."""

    version: int | None = Field(default=None, ge=1, description="Its number; null: the candidate.")
    champion: int | None = Field(
        default=None,
        ge=1,
        description="The champion that the verdict was looked at beside; null: there was none. Where it is stated and "
        "is another by now, nothing is moved: 409 champion-moved.",
    )
    force: Annotated[str, AfterValidator(_reason)] | None = Field(
        default=None, description="Why it is promoted though the gate says no; kept with the version."
    )


class RollbackRequest(BaseModel, extra="forbid"):
    """Which champion is to be rolled back."""

    champion: int | None = Field(
        default=None, ge=1, description="As it is thought to be; where it is another by now: 409 champion-moved."
    )


class GateRowResponse(BaseModel):
    """A figure of both versions, and whether what is asked of it holds. Dice, 0..1; null where it has none."""

    figure: str = Field(description="An organ's name, or mean.")
    candidate: float | None
    champion: float | None
    change: float | None = Field(description="By how much the candidate's is higher.")
    allowed_loss: float = Field(description="By how much it may be lower than the champion's.")
    least: float = Field(description="What it has to reach, whatever the champion's is.")
    holds: bool


class VerdictResponse(BaseModel):
    """What the gate says of making a version the champion."""

    name: str
    version: int
    champion: int | None = Field(description="The version that is champion now; null: none is.")
    is_champion: bool = Field(description="The version is the champion already.")
    passed: bool = Field(description="The gate lets it become champion.")
    failures: list[str] = Field(description="Why it does not, or why there is no way to tell.")
    volumes: int | None = Field(description="Validation volumes that both were scored on; null without a comparison.")
    rows: list[GateRowResponse] = Field(description="The mean first, then each organ; none without a comparison.")
    shadow: str | None = Field(description="What servers found where it ran beside the champion; it decides nothing.")


class PromotionResponse(BaseModel):
    """A champion that has moved."""

    name: str
    version: int = Field(description="The champion now.")
    before: int | None = Field(description="The champion until then; null: there was none.")
    promotion: Literal["passed", "first", "forced"] = Field(description="What the gate said.")
    by: str = Field(description="Owner of the key; anonymous on a server without keys.")
    served: bool = Field(description="This server follows the champion, and fetches it now; /v1/models says how far.")
    verdict: VerdictResponse


class RollbackResponse(BaseModel):
    """A champion that has moved back."""

    name: str
    version: int = Field(description="The champion now, as it was before.")
    before: int = Field(description="The champion until then.")
    by: str = Field(description="Owner of the key; anonymous on a server without keys.")
    served: bool = Field(description="This server follows the champion, and fetches it now; /v1/models says how far.")
