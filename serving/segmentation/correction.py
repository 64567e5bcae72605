"""Correction: a segmentation as somebody has put it right, and how it differs from what the model answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scans.measures.metrics import OrganCounts
from scans.measures.statistics import OrganStatistics
from scans.organs import OrganMap
from serving.storage.contract import correction_dir

MODELS_ANSWER = 0
"""The number of the version that nobody has corrected."""


@dataclass(frozen=True)
class OrganChange:
    """What a correction did to one organ."""

    name: str
    added: int
    """Voxels that are the organ in the correction alone."""
    removed: int
    """Voxels that were the organ in the model's answer alone."""
    dice: float | None
    """Of the model's answer with the correction as the truth, 0..1; None where the organ is in neither."""


@dataclass(frozen=True)
class Findings:
    """What is counted in a correction while it is written."""

    statistics: OrganStatistics
    counts: OrganCounts
    """The correction stands for the truth, the model's answer for the prediction."""
    not_labelled: int
    """Voxels that hold NOT_LABELLED: nobody has looked there, and they count for no organ."""
    labels_sha256: str
    """Of the class indices, one byte for each voxel, x fastest."""

    def changes(self, organs: OrganMap) -> list[OrganChange]:
        """Of every organ, in the order of their indices."""
        counts = self.counts
        columns = zip(organs.names, counts.false_negative, counts.false_positive, counts.dice, strict=True)
        return [OrganChange(name, int(added), int(removed), dice) for name, added, removed, dice in columns]

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads back, in types that JSON can hold."""
        counts = (self.counts.true_positive, self.counts.false_positive, self.counts.false_negative)
        return {
            "statistics": self.statistics.to_dict(),
            "counts": [column.tolist() for column in counts],
            "not_labelled": self.not_labelled,
            "labels_sha256": self.labels_sha256,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Findings:
        """From what `to_dict` gave, through JSON."""
        both, model, correction = (np.array(column, dtype=np.int64) for column in content["counts"])
        return cls(
            statistics=OrganStatistics.from_dict(content["statistics"]),
            counts=OrganCounts(both, model, correction),
            not_labelled=content["not_labelled"],
            labels_sha256=content["labels_sha256"],
        )


@dataclass(frozen=True)
class SentLabels:
    """The file of a correction as it was received."""

    filename: str
    """Without any folder, as the sender named it."""
    sha256: str
    bytes: int
    dataset: str | None = None
    """Which of several volumes in the file it is, as named beside it."""


@dataclass(frozen=True)
class Correction:
    """A version of a scan's segmentation. Nothing of it ever changes."""

    id: str
    """32 hexadecimal digits."""
    scan_id: str
    number: int
    """Of the version: 1 is the first, MODELS_ANSWER is none."""
    created_seconds: float
    """Seconds since 1970."""
    author: str | None
    """The owner of the key that it was sent with; None without keys."""
    sent: SentLabels
    findings: Findings
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Of its files, by name."""
    notes: tuple[str, ...] = ()
    """What the sender should know of how the file was read, a sentence each."""

    @property
    def place(self) -> str:
        """Where it lies, relative to its scan."""
        return correction_dir(self.id)
