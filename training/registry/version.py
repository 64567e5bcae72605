"""A version of a registered model: what the registry says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scans.model.manifest import ModelManifest
from scans.reviews import ReviewTally
from training.tracking import runs

_METRICS = ("mean_dice", "control.mean_dice", "mean_iou", "control.mean_iou")


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    name: str
    number: int
    created: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str
    """MLflow's id of the `dvc repro` that it came of."""

    @property
    def sha256(self) -> str:
        """Hash of its model.onnx."""
        return self.tags.get("onnx_sha256", "")

    @property
    def data_sha256(self) -> str:
        """Hash of the volumes that it was trained and validated on."""
        return self.tags.get("data_sha256", "")

    @property
    def metrics(self) -> dict[str, float]:
        """mean_dice and mean_iou of the Student, and control.mean_dice, ... of its control, where measured."""
        return {key: float(self.tags[key]) for key in _METRICS if key in self.tags}

    @property
    def uri(self) -> str:
        """Where MLflow finds it."""
        return f"models:/{self.name}/{self.number}"

    @classmethod
    def of(cls, entry: Any, aliases: Mapping[int, tuple[str, ...]]) -> Version:
        """What MLflow says of one, with the aliases of all versions by their numbers."""
        number = int(entry.version)
        created = datetime.fromtimestamp(entry.creation_timestamp / 1000, tz=UTC)
        return cls(entry.name, number, created, aliases.get(number, ()), dict(entry.tags), entry.run_id or "")

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"


_LONGEST_TAG = 4000
"""Characters of a tag's value that every store of MLflow keeps."""


def _held(value: str) -> str:
    """As far as a tag holds it; the card has all."""
    return value if len(value) <= _LONGEST_TAG else f"{value[: _LONGEST_TAG - 3]}..."


def _corrections(student: ModelManifest) -> str:
    """Those that the model has learnt from or was measured with."""
    return _held("; ".join(f"{volume}: {origin.what}" for volume, origin in sorted(student.corrections.items())))


def _reviews(tally: ReviewTally) -> str:
    """How many were learnt from, of which file, and whose."""
    by = f", by {', '.join(tally.reviewers)}" if tally.reviewers else ""
    return _held(f"{tally.what} of reviews.csv {tally.sha256}{by}")


def tags_of(student: ModelManifest, quality: ModelManifest) -> dict[str, str]:
    """What is noted with a version of two models: where they are from, and what the Student reaches."""
    figures = {runs.allowed_name(key): str(value) for key, value in student.metrics.items()}
    return {
        "onnx_sha256": student.model_sha256,
        "quality_sha256": quality.model_sha256,
        "data_sha256": student.data_sha256,
        "data_set": student.data_set,
        "organs": ", ".join(student.organs.names),
        **({"corrections": _corrections(student)} if student.corrections else {}),
        **({"reviews": _reviews(student.reviews)} if student.reviews is not None else {}),
        "git_commit": student.git_commit,
        "git_dirty": str(student.git_dirty).lower(),
        **figures,
    }
