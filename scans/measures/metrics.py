"""Dice and IoU per organ, added up slab by slab, and how organs that are absent, missed or invented count.

An organ that is there and was missed scores 0, and so does one that was invented. One that is absent from both truth
and prediction has no score: it is None, never NaN, it is left out of means, and how often it was is reported.
The mean over a set is taken over volumes first, per organ, and then over organs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.measures.surface_distances import SurfaceDistances, surface_distances
from scans.organs import NOT_LABELLED, OrganMap

__all__ = ["OrganCounts", "Summary", "SurfaceDistances", "VolumeScores", "slice_iou", "summarise", "surface_distances"]

_PIECE_VOXELS = 1 << 22
"""Voxels counted at once: counting takes eight bytes for each."""


@dataclass(frozen=True, eq=False)
class OrganCounts:
    """Voxels per organ that prediction and truth agree and disagree on; counts of slabs add up to those of the whole.

    Each array is int64 (organs,), in the order of class indices, background left out.
    """

    true_positive: NDArray[np.int64]
    """Voxels that are the organ in both."""
    false_positive: NDArray[np.int64]
    """Voxels that are the organ in the prediction alone."""
    false_negative: NDArray[np.int64]
    """Voxels that are the organ in the truth alone."""

    @classmethod
    def of(cls, prediction: NDArray[np.integer], truth: NDArray[np.integer], *, classes: int) -> OrganCounts:
        """Counts of two arrays of class indices of the same shape, 0 (background) to `classes` - 1.

        Voxels where the truth is NOT_LABELLED count for nobody, whatever the prediction. Raises ValueError if the
        shapes differ or if a class index is out of range.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"prediction has shape {prediction.shape} and truth {truth.shape}; they must be the same")
        labelled = truth != NOT_LABELLED
        if not labelled.all():
            prediction, truth = prediction[labelled], truth[labelled]
        both = _class_voxels(truth[prediction == truth], classes, what="prediction and truth")
        predicted = _class_voxels(prediction, classes, what="prediction")
        true = _class_voxels(truth, classes, what="truth")
        return cls(both, predicted - both, true - both)

    def __add__(self, other: OrganCounts) -> OrganCounts:
        return OrganCounts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
        )

    @property
    def dice(self) -> tuple[float | None, ...]:
        """2 TP / (2 TP + FP + FN) per organ, 0..1; None where the organ is absent from both."""
        return _ratios(2 * self.true_positive, self.false_positive + self.false_negative)

    @property
    def iou(self) -> tuple[float | None, ...]:
        """TP / (TP + FP + FN) per organ, 0..1; None where the organ is absent from both."""
        return _ratios(self.true_positive, self.false_positive + self.false_negative)

    @property
    def pooled_iou(self) -> float | None:
        """Sum of TP over the sum of TP + FP + FN of all organs, 0..1; None where neither holds an organ.

        Organs count by their voxels: a stray voxel of an organ that is not there lowers it by little, where a mean over
        organs would count that organ as a whole one that was failed. A voxel of one organ that is taken for another's
        is wrong for both.
        """
        agree = int(self.true_positive.sum())
        either = agree + int(self.false_positive.sum()) + int(self.false_negative.sum())
        return agree / either if either else None

    @property
    def invented(self) -> bool:
        """True where an organ is predicted that is not in the truth, be it one voxel of it."""
        return bool(((self.false_positive > 0) & (self.true_positive + self.false_negative == 0)).any())

    @property
    def missed(self) -> bool:
        """True where of an organ that is in the truth no voxel is predicted."""
        return bool(((self.false_negative > 0) & (self.true_positive + self.false_positive == 0)).any())


@dataclass(frozen=True)
class VolumeScores:
    """How well one volume was segmented, per organ name."""

    volume_id: str
    dice: Mapping[str, float | None]
    """0..1; None: absent from both truth and prediction."""
    iou: Mapping[str, float | None]
    """0..1; None: absent from both truth and prediction."""

    @classmethod
    def from_counts(cls, volume_id: str, counts: OrganCounts, organs: OrganMap) -> VolumeScores:
        """Scores of a volume from its counts. Raises ValueError if the counts are of another number of organs."""
        if len(counts.true_positive) != len(organs):
            raise ValueError(f"{volume_id}: counts of {len(counts.true_positive)} organs; the map has {len(organs)}")
        return cls(
            volume_id=volume_id,
            dice=dict(zip(organs.names, counts.dice, strict=True)),
            iou=dict(zip(organs.names, counts.iou, strict=True)),
        )


@dataclass(frozen=True)
class Summary:
    """Scores over a set of volumes."""

    dice: Mapping[str, float | None]
    """Per organ, the mean over the volumes that it can be scored in; None where there is no such volume."""
    iou: Mapping[str, float | None]
    """Per organ, the mean over the volumes that it can be scored in; None where there is no such volume."""
    mean_dice: float
    """Mean of `dice` over the organs that have one."""
    mean_iou: float
    """Mean of `iou` over the organs that have one."""
    left_out: Mapping[str, int]
    """For every organ, the number of volumes that it was left out of: absent from both truth and prediction."""
    volumes: int
    """How many volumes there were."""

    def to_dict(self) -> dict[str, Any]:
        """{"mean_dice", "mean_iou", "volumes", "organs": {name: {"dice", "iou", "left_out"}}}, for JSON."""
        return {
            "mean_dice": self.mean_dice,
            "mean_iou": self.mean_iou,
            "volumes": self.volumes,
            "organs": {
                name: {"dice": self.dice[name], "iou": self.iou[name], "left_out": self.left_out[name]}
                for name in self.dice
            },
        }


def summarise(scores: Sequence[VolumeScores], organs: OrganMap) -> Summary:
    """Scores over volumes: per organ the mean over volumes, then the mean over organs.

    Raises ValueError if there is no volume, if a volume was scored on other organs, or if no organ can be scored at
    all because each is absent from every truth and every prediction.
    """
    if not scores:
        raise ValueError("no volume to summarise; at least one must have been scored")
    for volume in scores:
        if set(volume.dice) != set(organs.names):
            raise ValueError(
                f"{volume.volume_id} was scored on {', '.join(volume.dice)}, not {', '.join(organs.names)}"
            )
    dice = {name: _mean(volume.dice[name] for volume in scores) for name in organs.names}
    iou = {name: _mean(volume.iou[name] for volume in scores) for name in organs.names}
    mean_dice, mean_iou = _mean(dice.values()), _mean(iou.values())
    if mean_dice is None or mean_iou is None:
        ids = ", ".join(volume.volume_id for volume in scores)
        raise ValueError(f"nothing can be scored: truth and prediction hold background alone in {ids}")
    left_out = {name: sum(volume.dice[name] is None for volume in scores) for name in organs.names}
    return Summary(dice, iou, mean_dice, mean_iou, left_out, volumes=len(scores))


def slice_iou(prediction: NDArray[np.integer], truth: NDArray[np.integer], *, classes: int) -> float | None:
    """`OrganCounts.pooled_iou` of two (Y, X) slices of class indices."""
    return OrganCounts.of(prediction, truth, classes=classes).pooled_iou


def _class_voxels(labels: NDArray[np.integer], classes: int, *, what: str) -> NDArray[np.int64]:
    """int64 (classes - 1,): voxels of each organ."""
    flat = labels.reshape(-1)
    if flat.size and (flat.min() < 0 or flat.max() >= classes):
        raise ValueError(f"{what} holds class indices {flat.min()} to {flat.max()}; expected 0 to {classes - 1}")
    counts = np.zeros(classes, dtype=np.int64)
    for start in range(0, flat.size, _PIECE_VOXELS):
        counts += np.bincount(flat[start : start + _PIECE_VOXELS].astype(np.intp), minlength=classes)
    return counts[1:]


def _ratios(agreement: NDArray[np.int64], disagreement: NDArray[np.int64]) -> tuple[float | None, ...]:
    return tuple(
        float(agree) / float(agree + differ) if agree + differ else None
        for agree, differ in zip(agreement, disagreement, strict=True)
    )


def _mean(values: Iterable[float | None]) -> float | None:
    scored = [value for value in values if value is not None]
    return sum(scored) / len(scored) if scored else None
