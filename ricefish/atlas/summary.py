"""Means and spreads of each organ's measures by group, over the fish that count for them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ricefish.atlas.records import MEASURES, FishRecord, Measure

CONFIDENCE = 0.95


@dataclass(frozen=True)
class GroupSummary:
    """One measure of one organ in one group."""

    group: str
    organ: str
    measure: Measure
    count: int
    """Fish that it is of."""
    absent: int
    """Fish in which the organ was not found."""
    cut_off: int
    """Fish left out as it reaches the border of the scan there, so that its size is a lower bound."""
    unknown: int
    """Fish left out as the value is not known."""
    mean: float | None
    sd: float | None
    """Of the sample (n - 1); None of fewer than two fish."""
    low: float | None
    """The mean lies between `low` and `high` with 95 % confidence (Student's t); None of fewer than two fish."""
    high: float | None


def organ_names(fish: Sequence[FishRecord]) -> list[str]:
    """Of all fish, in the order in which they first come; those that were found in none are left out."""
    found = {organ.organ for one in fish for organ in one.organs if organ.voxels}
    return [name for name in dict.fromkeys(organ.organ for one in fish for organ in one.organs) if name in found]


def group_names(fish: Sequence[FishRecord]) -> list[str]:
    """In the order in which they first come."""
    return list(dict.fromkeys(one.group for one in fish))


def summarise(fish: Sequence[FishRecord], *, cut_off: bool = False) -> list[GroupSummary]:
    """Every group, organ and measure, in this order; `cut_off`: organs that reach the border count too."""
    return [
        _summary(group, organ, measure, [one for one in fish if one.group == group], cut_off=cut_off)
        for group in group_names(fish)
        for organ in organ_names(fish)
        for measure in MEASURES
    ]


def _summary(group: str, organ: str, measure: Measure, fish: Sequence[FishRecord], *, cut_off: bool) -> GroupSummary:
    counted = [measure.counted(one, one.organ(organ), cut_off=cut_off) for one in fish]
    values = np.array([value for value in counted if not isinstance(value, str)], dtype=np.float64)
    why = Counter(value for value in counted if isinstance(value, str))
    mean, sd, low, high = _moments(values)
    return GroupSummary(
        group=group,
        organ=organ,
        measure=measure,
        count=len(values),
        absent=why["absent"],
        cut_off=why["cut off"],
        unknown=why["unknown"],
        mean=mean,
        sd=sd,
        low=low,
        high=high,
    )


def _moments(values: np.ndarray) -> tuple[float | None, float | None, float | None, float | None]:
    """Mean, spread and the ends of the interval of the mean."""
    if not len(values):
        return None, None, None, None
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None, None, None
    from scipy.special import stdtrit  # noqa: PLC0415  half a second that other commands do not need

    sd = float(values.std(ddof=1))
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(len(values))
    return mean, sd, mean - half, mean + half
