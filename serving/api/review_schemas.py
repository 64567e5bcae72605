"""What the server takes and answers of reviews, field by field."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from scans.reviews import Verdict
from serving.api.schemas import ModelResponse
from serving.parsing.texts import is_name

_LONGEST_COMMENT = 2000


def _comment(text: str) -> str:
    written = text.replace("\r\n", "\n").strip()
    if written and not is_name(written.translate({ord(c): " " for c in "\n\t"}), longest=_LONGEST_COMMENT):
        raise ValueError(f"it is at most {_LONGEST_COMMENT} characters that can be printed")
    return written


class ReviewRequest(BaseModel, extra="forbid"):
    """A verdict on a slice, or on one organ in it."""

    scan: str = Field(description="The scan's id.", min_length=1, max_length=100)
    axis: Literal["z"] = Field(default="z", description="Slices across z are judged.")
    slice_index: int = Field(ge=0, description="From 0.")
    verdict: Verdict = Field(description="good and bad teach; unsure and skip teach nothing.")
    mask_sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="Of the mask that was seen, as /v1/reviews/next gave it."
    )
    organ: str | None = Field(
        default=None, description="Name of the organ that the verdict is on; null: the slice as a whole.", min_length=1
    )
    comment: Annotated[str, AfterValidator(_comment)] = Field(default="", description="Anything, for people to read.")


class ReviewLinks(BaseModel):
    """Pictures of a slice, and where its verdict goes."""

    overlay: str = Field(description="The slice with its organs.")
    plain: str = Field(description="The slice alone.")
    review: str


class NextReviewResponse(BaseModel):
    """A slice that is worth a look."""

    scan: str
    filename: str = Field(description="Of the scan, as its sender named it.")
    volume: str = Field(description="What the pipeline calls the scan, and reviews.csv.")
    axis: Literal["z"]
    slice_index: int
    slices: int = Field(description="Of the scan.")
    model: ModelResponse = Field(description="That made the mask.")
    mask_sha256: str = Field(description="Of the mask: its verdict is for this one alone.")
    uncertainty: float = Field(description="0 to 1; docs/serving.md says how it is found.")
    good: float | None = Field(description="Probability that the mask is good; null without a Quality Classifier.")
    good_threshold: float | None = Field(description="From which probability on it counts as good.")
    organ: str | None = Field(description="In question; null where nobody knows which.")
    expected_dice: float | None = Field(description="Of the organ in question, in this slice.")
    confidence: float | None = Field(
        description="Of the model, mean over the slice's organs; null where it was not asked: it is in one slice of 8 "
        "to 32."
    )
    organs: list[str] = Field(description="In the mask, in the order of their class indices.")
    organs_of_model: list[str] = Field(description="That a verdict may be on.")
    until: datetime = Field(description="When others may be given this slice.")
    links: ReviewLinks


class ReviewResponse(BaseModel):
    """A verdict of a person."""

    id: str
    time: datetime
    reviewer: str = Field(description="Owner of the key; anonymous on a server without keys.")
    scan: str = Field(description="Its id; it may have been removed since.")
    volume: str = Field(description="What the pipeline calls the scan.")
    axis: str
    slice_index: int
    organ: str | None = Field(description="That the verdict is on; null: the slice as a whole.")
    verdict: Verdict
    comment: str
    mask_sha256: str = Field(description="Of the mask that was seen.")
    mask: str = Field(description="Where the mask is, as a grey PNG of its class indices.")
    model: ModelResponse = Field(description="That made the mask.")
    ended: datetime | None = Field(description="Since when it no longer stands; null: it stands.")
    ending: Literal["replaced", "withdrawn"] | None


class ReviewsResponse(BaseModel):
    """Verdicts, the newest first."""

    reviews: list[ReviewResponse]


class ReviewerResponse(BaseModel):
    """What one reviewer has done, on scans that the caller may review."""

    reviewer: str
    verdicts: int = Field(description="That stand.")
    good: int
    bad: int
    unsure: int
    skip: int
    per_hour: float | None = Field(
        description="Verdicts an hour within the last day, pauses of more than five minutes left out; null where no "
        "two are near enough to tell."
    )


class ReviewCountsResponse(BaseModel):
    """How far the reviewing is."""

    reviewers: list[ReviewerResponse]
    verdicts: int = Field(description="Of all of them.")
    good: int
    bad: int
    waiting: int = Field(description="Slices on offer that nobody has judged.")
    waiting_for_you: int = Field(description="Slices on offer that the caller has not judged.")
