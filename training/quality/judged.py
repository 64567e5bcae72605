"""Judged examples: what classifiers are worth on examples that they did not learn from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.quality.examples import Example
from training.quality.roc import RocCurve, at_threshold


@dataclass(frozen=True, eq=False)
class Judged:
    """Examples, each judged by a classifier that learnt from none of its volume."""

    examples: tuple[Example, ...]
    probabilities: NDArray[np.float64]
    """Of being good, (N,)."""
    dice: NDArray[np.float64]
    """That is expected of organs, (N, organs); (N, 0) where none is."""

    @property
    def good(self) -> NDArray[np.bool_]:
        """What they are, (N,)."""
        return np.array([example.good for example in self.examples])

    def of_volume(self, volume_id: str) -> Judged:
        """Those of one volume."""
        own = [example.volume_id == volume_id for example in self.examples]
        return Judged(tuple(compress(self.examples, own)), self.probabilities[own], self.dice[own])

    def dice_error(self) -> dict[str, float]:
        """Mean difference of expected and true Dice over the organs of slices, and what it would be were the mean true
        Dice of each organ expected; none where there is nothing to compare."""
        rows = [
            (organ, expected, true)
            for of_slice, example in zip(self.dice, self.examples, strict=True)
            if example.dice is not None
            for organ, (expected, true) in enumerate(zip(of_slice, example.dice, strict=False))
            if true is not None
        ]
        if not rows:
            return {}
        organ, expected, true = np.array(rows).T
        means = {number: true[organ == number].mean() for number in np.unique(organ)}
        return {
            "dice_error": float(np.abs(expected - true).mean()),
            "dice_error_of_the_mean": float(np.abs(true - [means[number] for number in organ]).mean()),
        }


def measured(judged: Judged, *, threshold: float) -> dict[str, Any]:
    """`figures` of all examples together, and under `volumes` of each volume's."""
    volumes = {volume_id: judged.of_volume(volume_id) for volume_id in sorted({e.volume_id for e in judged.examples})}
    return {
        **figures(judged.probabilities, judged.good, threshold=threshold),
        **judged.dice_error(),
        "volumes": {
            volume_id: figures(own.probabilities, own.good, threshold=threshold) for volume_id, own in volumes.items()
        },
    }


def figures(
    probabilities: NDArray[np.float64], good: NDArray[np.bool_], *, threshold: float
) -> dict[str, float | str | None]:
    """What classifiers are worth on examples that never trained them; a figure that these do not give is None."""
    roc, point = RocCurve.of(probabilities, good), at_threshold(probabilities, good, threshold)
    return {
        "auc": roc.auc,
        "auc_missing": roc.auc_missing,
        "threshold": threshold,
        "precision": point.precision,
        "recall": point.true_positive_rate,
        "kept_share": point.kept_share,
        "base_rate": float(good.mean()),
    }
