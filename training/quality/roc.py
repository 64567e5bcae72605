"""How well the Quality Classifier tells good from bad on examples that it was not trained on."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("threshold", "false_positive_rate", "true_positive_rate", "precision", "kept_share")


@dataclass(frozen=True)
class RocPoint:
    """What a threshold would keep. A rate over nothing is None."""

    threshold: float
    """Slices with at least this probability are kept; infinity keeps none."""
    false_positive_rate: float | None
    """Share of the bad ones that is kept."""
    true_positive_rate: float | None
    """Share of the good ones that is kept: recall."""
    precision: float | None
    """Share of the kept ones that is good."""
    kept_share: float | None
    """Share of all that is kept."""


@dataclass(frozen=True)
class RocCurve:
    """Every threshold that changes what is kept, from the strictest down, and the area under the curve."""

    points: tuple[RocPoint, ...]
    auc: float | None
    """Probability that a good slice gets a higher probability than a bad one, ties counted half."""
    auc_missing: str | None
    """Why `auc` is None."""

    @classmethod
    def of(cls, probabilities: NDArray[np.floating[Any]], good: NDArray[np.bool_]) -> RocCurve:
        """Of 1-D probabilities and verdicts. Raises ValueError unless both have the same length and are finite."""
        if probabilities.shape != good.shape or probabilities.ndim != 1 or not np.isfinite(probabilities).all():
            raise ValueError(f"{probabilities.shape} finite probabilities expected for {good.shape} verdicts")
        thresholds = [math.inf, *np.unique(probabilities)[::-1].tolist()]
        points = tuple(at_threshold(probabilities, good, threshold) for threshold in thresholds)
        if good.all() or not good.any():
            kind = "good" if good.any() else "bad" if good.size else "there at all"
            return cls(points, None, f"the held-out examples are not of both kinds: all {good.size} are {kind}")
        false = [point.false_positive_rate or 0.0 for point in points]
        true = [point.true_positive_rate or 0.0 for point in points]
        return cls(points, float(np.trapezoid(true, false)), None)

    def write(self, path: Path) -> None:
        """Writes one line per point; a rate over nothing is an empty field."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for point in self.points:
                values = (getattr(point, column) for column in COLUMNS)
                writer.writerow(["" if value is None else round(value, 6) for value in values])


def at_threshold(probabilities: NDArray[np.floating[Any]], good: NDArray[np.bool_], threshold: float) -> RocPoint:
    """What is kept of 1-D probabilities with their verdicts where at least `threshold` is asked for."""
    kept = probabilities >= threshold
    return RocPoint(
        threshold=threshold,
        false_positive_rate=_share(kept & ~good, of=~good),
        true_positive_rate=_share(kept & good, of=good),
        precision=_share(kept & good, of=kept),
        kept_share=_share(kept, of=np.ones_like(kept)),
    )


def _share(part: NDArray[np.bool_], *, of: NDArray[np.bool_]) -> float | None:
    whole = int(of.sum())
    return int(part.sum()) / whole if whole else None
