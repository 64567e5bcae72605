"""Expected Dice: how good an organ's segmentation is likely to be where nobody knows the truth, with bounds.

The Quality Classifier says for each slice which Dice it expects of each organ, and of a volume the mean over slices,
weighted by the organ's voxels there. How far that is from the true Dice is seen on volumes that no model learnt from
(split conformal prediction, Vovk et al. 2005; Lei et al. 2018): their differences, in order, are the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 0.9
"""Of organs, whose true Dice lies within the bounds."""
_DIGITS = 6


@dataclass(frozen=True)
class ExpectedDice:
    """Of one organ in one volume; all 0..1."""

    dice: float
    low: float
    high: float
    """The true Dice lies from `low` to `high` as often as the calibration's rate says."""

    def holds(self, true: float) -> bool:
        """Whether a true Dice, 0..1, is within the bounds."""
        return self.low <= round(true, _DIGITS) <= self.high


@dataclass(frozen=True)
class DiceCalibration:
    """How far, organ by organ, the true Dice of a volume was from what the Quality Classifier said of it.

    Where there are too few volumes for bounds of an organ of its own, all organs have the same, from the differences of
    all of them together (pooled as by Dunn et al. 2023, who show when that keeps the rate). Where these are too few as
    well, the bounds are 0 and 1: nothing is claimed that was not seen.
    """

    rate: float
    """0..1."""
    lower: tuple[float, ...]
    """For each organ, in the order of class indices, what is added to what was said; -1: nothing is known."""
    middle: tuple[float, ...]
    """The median difference: a network that sees itself too well is put right by it."""
    upper: tuple[float, ...]
    volumes: int
    """From which the differences are."""

    @classmethod
    def of(cls, said: NDArray[np.float64], true: NDArray[np.float64], *, rate: float = RATE) -> DiceCalibration:
        """Of float (volumes, organs), what was said and what was right, NaN where an organ was not found.

        Raises ValueError unless both have that shape.
        """
        if said.ndim != 2 or said.shape != true.shape:
            raise ValueError(f"said has shape {said.shape} and true {true.shape}; expected (volumes, organs), twice")
        differences = true - said
        pooled = _ordered(differences.ravel())
        bounds = []
        for column in differences.T:
            own = _ordered(column)
            bounds.append(_bounds(own if _rank(len(own), rate) else pooled, rate))
        lower, middle, upper = (tuple(values) for values in zip(*bounds, strict=True))
        return cls(rate, lower, middle, upper, volumes=len(said))

    def expected(self, organ: int, said: float) -> ExpectedDice:
        """Of the organ with class index `organ`, from 1, and the mean of what was said of its slices, 0..1."""
        low, dice, high = (
            min(max(said + change[organ - 1], 0.0), 1.0) for change in (self.lower, self.middle, self.upper)
        )
        return ExpectedDice(round(dice, _DIGITS), round(low, _DIGITS), round(high, _DIGITS))

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads back, in types that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DiceCalibration:
        """From what `to_dict` gave, through JSON or not. Raises KeyError, TypeError or ValueError for anything else."""
        lower, middle, upper = (tuple(float(value) for value in content[name]) for name in ("lower", "middle", "upper"))
        if not len(lower) == len(middle) == len(upper):
            raise ValueError(f"{len(lower)} lower, {len(middle)} middle and {len(upper)} upper differences")
        return cls(float(content["rate"]), lower, middle, upper, int(content["volumes"]))


def _ordered(differences: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in np.sort(differences[~np.isnan(differences)])]


def _rank(count: int, rate: float) -> int:
    """Of the order statistic, from either end, that bounds a new difference as often as `rate` says; 0: none does."""
    return math.floor((count + 1) * (1 - rate) / 2 + 1e-9)


def _bounds(ordered: Sequence[float], rate: float) -> tuple[float, float, float]:
    """Lower, middle and upper."""
    middle = float(np.median(ordered)) if ordered else 0.0
    rank = _rank(len(ordered), rate)
    lower, upper = (ordered[rank - 1], ordered[-rank]) if rank else (-1.0, 1.0)
    return round(lower, _DIGITS), round(middle, _DIGITS), round(upper, _DIGITS)
