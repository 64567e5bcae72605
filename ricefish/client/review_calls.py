"""Review calls: the slices that a server offers to be judged, and what people said of them.

with Client(server) as client:
    while (question := client.reviews.next()) is not None:
        show(client.reviews.picture(question))
        client.reviews.add(question, "good")
    client.reviews.export(Path("data/reviews.csv"))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from ricefish.client.connection import Connection
from ricefish.client.review_export import ExportedReviews, export_reviews
from scans.mask_picture import mask_from_png
from scans.reviews import Verdict

_PAGE = 1000


@dataclass(frozen=True)
class ReviewQuestion:
    """A slice that is worth a look."""

    scan: str
    volume: str
    """What the pipeline calls the scan."""
    slice_index: int
    """Across z, from 0."""
    mask_sha256: str
    """Of the mask that is shown: a verdict is on this one alone."""
    model: str
    """Name and, from a registry, version of what made the mask."""
    organ: str | None
    """In question; None where nobody knows which."""
    organs: tuple[str, ...]
    """In the mask."""
    uncertainty: float
    """0..1."""
    good: float | None
    """Probability that the mask is good; None without a Quality Classifier."""
    expected_dice: float | None
    """Of the organ in question."""
    confidence: float | None
    """The model's, over the organs; None where it was not asked."""
    overlay: str
    """Path of the picture with organs, on the server."""
    plain: str
    """Path of the picture without."""


@dataclass(frozen=True)
class ReviewRecord:
    """A verdict of a person."""

    id: str
    time: datetime
    reviewer: str
    scan: str
    volume: str
    slice_index: int
    organ: str | None
    """That the verdict is on; None: the slice as a whole."""
    verdict: Verdict
    comment: str
    mask_sha256: str
    ended: datetime | None
    """Since when it no longer stands; None: it stands."""


@dataclass(frozen=True)
class ReviewSelection:
    """Which reviews are asked for; None: all."""

    scan: str | None = None
    reviewer: str | None = None
    verdict: Verdict | None = None
    organ: str | None = None
    """By name; empty: verdicts on slices as a whole."""
    since: datetime | None = None
    """Those given then or later; of a time without a zone it is this machine's."""
    history: bool = False
    """Those that were replaced or withdrawn too."""

    @property
    def parameters(self) -> dict[str, str]:
        """As the server takes them."""
        since = None if self.since is None else self.since.astimezone(UTC).isoformat()
        history = "true" if self.history else None
        stated = {"scan": self.scan, "reviewer": self.reviewer, "verdict": self.verdict, "organ": self.organ}
        return {
            name: value for name, value in {**stated, "since": since, "history": history}.items() if value is not None
        }


ALL = ReviewSelection()


class ReviewCalls:
    """The reviews of one server; its methods raise RicefishError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next(self) -> ReviewQuestion | None:
        """The slice that is most worth a look, which nobody else is given for five minutes; None when none is left."""
        answer = self._connection.get("/v1/reviews/next")
        return None if answer.status_code == httpx.codes.NO_CONTENT else _question(answer.json())

    def picture(self, question: ReviewQuestion, *, with_organs: bool = True) -> bytes:
        """PNG of a slice."""
        return self._connection.get(question.overlay if with_organs else question.plain).content

    def add(
        self, question: ReviewQuestion, verdict: Verdict, *, organ: str | None = None, comment: str = ""
    ) -> ReviewRecord:
        """Judges a slice, or one organ in it. It is durable when this returns; another verdict takes its place."""
        said = {
            "scan": question.scan,
            "slice_index": question.slice_index,
            "mask_sha256": question.mask_sha256,
            "verdict": verdict,
            "organ": organ,
            "comment": comment,
        }
        return _record(self._connection.request("POST", "/v1/reviews", json=said).json())

    def withdraw(self, review_id: str) -> None:
        """Undoes a verdict of one's own."""
        self._connection.request("DELETE", f"/v1/reviews/{review_id}")

    def each(self, selection: ReviewSelection = ALL) -> Iterator[ReviewRecord]:
        """The verdicts, the newest first, fetched page by page."""
        parameters = {**selection.parameters, "limit": str(_PAGE)}
        while True:
            page = self._connection.get("/v1/reviews", params=parameters).json()["reviews"]
            yield from (_record(content) for content in page)
            if len(page) < _PAGE:
                return
            parameters["before"] = page[-1]["id"]

    def mask(self, review_id: str) -> NDArray[np.uint8]:
        """The mask that a verdict is on: class indices, uint8 (Y, X)."""
        return mask_from_png(self._connection.get(f"/v1/reviews/{review_id}/mask.png").content)

    def export(self, path: Path, selection: ReviewSelection = ALL) -> ExportedReviews:
        """Fetches the verdicts into a file that the stages label_quality and refine read as reviews.csv, and the masks
        that they are on into the folder beside it, which is called as the file is, without its ending.

        The file appears when it and all masks are complete, and what was there before stays until then.
        """
        return export_reviews(self._connection, path, selection.parameters)

    def counts(self) -> dict[str, Any]:
        """How many verdicts there are, of whom, how fast they come, and how many slices wait, as the server says it."""
        content: dict[str, Any] = self._connection.get("/v1/reviews/counts").json()
        return content


def _question(content: dict[str, Any]) -> ReviewQuestion:
    names = ("scan", "volume", "slice_index", "mask_sha256", "organ", "uncertainty", "good", "expected_dice")
    model = content["model"]
    return ReviewQuestion(
        **{name: content[name] for name in names},
        model=f"{model['name']} {model['version'] or ''}".strip(),
        organs=tuple(content["organs"]),
        confidence=content["confidence"],
        overlay=content["links"]["overlay"],
        plain=content["links"]["plain"],
    )


def _record(content: dict[str, Any]) -> ReviewRecord:
    names = ("id", "reviewer", "scan", "volume", "slice_index", "organ", "verdict", "comment", "mask_sha256")
    return ReviewRecord(
        **{name: content[name] for name in names},
        time=datetime.fromisoformat(content["time"]),
        ended=content["ended"] and datetime.fromisoformat(content["ended"]),
    )
