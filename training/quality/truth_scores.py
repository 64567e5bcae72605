"""Pseudo-labels against the truth of volumes without labels, where it is known, as that of synthetic fish is.

Nothing is chosen by these figures: they say what the Quality Classifier is worth on what it is used for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from scans.measures.metrics import OrganCounts, VolumeScores, summarise
from scans.organs import NOT_LABELLED, OrganMap
from scans.volume import Voxels
from training.data.prepared import VolumeRecord
from training.quality.roc import at_threshold

SLAB_SLICES = 16
HEADINGS = {
    "slices": "slices",
    "dice": "Dice",
    "kept_dice": "Dice, kept",
    "good_share": "good",
    "precision": "precision",
    "recall": "recall",
    "invented_share": "organ invented",
    "missed_share": "organ missed",
}
"""Figure -> the column of the table."""

ALL = "all"
"""The name of what is over all experiments."""

Figures = Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class TruthScores:
    """How the pseudo-labels of one volume compare with its truth, slice by slice; arrays are (Z,)."""

    record: VolumeRecord
    counts: tuple[OrganCounts, ...]
    """Of each slice."""
    good: NDArray[np.bool_]
    """The IoU of the slice, its organs pooled, is at least `label_quality.good_iou`."""
    judged: NDArray[np.bool_]
    """The Teacher sees an organ, so that the classifier, where it is on, has a say."""
    kept: NDArray[np.bool_]


def truth_scores(
    record: VolumeRecord,
    *,
    pseudo_labels: Voxels,
    truth: Voxels,
    kept: Collection[int],
    classes: int,
    good_iou: float,
) -> TruthScores:
    """Scores uint8 (Z, Y, X) class indices against others of that shape; `kept` are indices of slices.

    What refine masked counts for nobody.
    """
    counts: list[OrganCounts] = []
    judged: list[bool] = []
    for start in range(0, record.shape[0], SLAB_SLICES):
        predicted = pseudo_labels.read(start, start + SLAB_SLICES)
        true = truth.read(start, start + SLAB_SLICES)
        masked = predicted == NOT_LABELLED
        predicted, true = np.where(masked, np.uint8(0), predicted), np.where(masked, np.uint8(NOT_LABELLED), true)
        counts += [OrganCounts.of(*pair, classes=classes) for pair in zip(predicted, true, strict=True)]
        judged += [bool(mask.any()) for mask in predicted]
    ious = [of_slice.pooled_iou for of_slice in counts]
    return TruthScores(
        record=record,
        counts=tuple(counts),
        good=np.array([iou is not None and iou >= good_iou for iou in ious]),
        judged=np.array(judged),
        kept=np.isin(np.arange(len(counts)), list(kept)),
    )


def by_experiment(scores: Sequence[TruthScores], organs: OrganMap, *, classifier: bool) -> dict[str, Figures]:
    """`figures` of each experiment by name, and of all. `classifier` False: there are no verdicts to score."""
    experiments = sorted({of_volume.record.experiment for of_volume in scores})
    groups = {name: [s for s in scores if s.record.experiment == name] for name in experiments}
    return {name: figures(group, organs, classifier=classifier) for name, group in (groups | {ALL: scores}).items()}


def figures(scores: Sequence[TruthScores], organs: OrganMap, *, classifier: bool) -> Figures:
    """Figures over volumes, 0..1; what cannot be said is None.

    `dice` and `kept_dice`: mean Dice of all pseudo-labels and of those kept, over volumes, then over organs.
    `good_share`, `precision`, `recall`: of the slices that the classifier judged, how many are good; of those that it
    passed, how many are good; of the good ones, how many it passed. `invented_share`, `missed_share`: of all slices,
    those with an organ that is predicted and not in the truth, and the other way round.
    """
    good, judged, kept = (
        np.concatenate([getattr(of_volume, name) for of_volume in scores]) for name in ("good", "judged", "kept")
    )
    counts = [of_slice for of_volume in scores for of_slice in of_volume.counts]
    verdicts = at_threshold(kept[judged].astype(np.float64), good[judged], 1.0)
    return {
        "slices": len(counts),
        "dice": _dice([(s.record.id, s.counts) for s in scores], organs),
        "kept_dice": _dice([(s.record.id, tuple(compress(s.counts, s.kept))) for s in scores], organs),
        "good_share": float(good[judged].mean()) if judged.any() else None,
        "precision": verdicts.precision if classifier else None,
        "recall": verdicts.true_positive_rate if classifier else None,
        "invented_share": float(np.mean([of_slice.invented for of_slice in counts])),
        "missed_share": float(np.mean([of_slice.missed for of_slice in counts])),
    }


def _dice(volumes: Sequence[tuple[str, tuple[OrganCounts, ...]]], organs: OrganMap) -> float | None:
    """Mean Dice of the volumes that hold an organ in prediction or truth; None where there is none."""
    none = np.zeros(len(organs), dtype=np.int64)
    scores = [
        VolumeScores.from_counts(volume_id, sum(counts, OrganCounts(none, none, none)), organs)
        for volume_id, counts in volumes
    ]
    scored = [of_volume for of_volume in scores if any(dice is not None for dice in of_volume.dice.values())]
    return summarise(scored, organs).mean_dice if scored else None


def flat(found: Mapping[str, Figures]) -> dict[str, float]:
    """Those that can be said, for MLflow: `truth.FIGURE` of all, `truth.FIGURE.NAME` of an experiment."""
    return {
        f"truth.{figure}" + ("" if name == ALL else f".{name}"): value
        for name, group in found.items()
        for figure, value in group.items()
        if value is not None
    }


def table(found: Mapping[str, Figures]) -> Table:
    """One line per experiment, and one for all."""
    drawn = Table(title="Pseudo-labels against the truth", title_justify="left", box=SIMPLE_HEAD, padding=0)
    drawn.add_column("")
    for heading in HEADINGS.values():
        drawn.add_column(heading, justify="right")
    for name, group in found.items():
        drawn.add_row(name, *(_shown(group[figure]) for figure in HEADINGS))
    return drawn


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
