"""Values out of line: the modified z-score of each measure of each organ.

The modified z-score is 0.6745 (x - median) / MAD, and above 3.5 a value is called an outlier: Iglewicz & Hoaglin, "How
to Detect and Handle Outliers", 1993. The median is that of the fish's group, where at least five of it are known, and
the MAD that of all fish about theirs, so that few fish in many groups still tell how much fish differ. For small
numbers the MAD is enlarged by n / (n - 0.8 k), k being the number of medians (Croux & Rousseeuw 1992). Where it is 0,
as more than half of the fish have the same value, the mean absolute deviation times 1.2533 stands in its place.

Each measure is looked at by itself: a robust Mahalanobis distance over all needs many times more fish than measures.
Of so many measures some are beyond any limit by chance: `chance_limit` is that which about one of them would be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ricefish.atlas.records import MEASURES, FishRecord, Measure
from ricefish.atlas.summary import organ_names

LIMIT = 3.5
FEWEST_FISH = 5
"""With fewer, nobody can say what is in line."""
_MAD_OF_SD, _MEAN_OF_SD = 0.6745, 1 / 1.2533141
"""Median and mean absolute deviation of a normal distribution of standard deviation 1."""
_SMALL = 0.8
_LEAST_SHARE, _LEAST_ABSOLUTE = 0.02, 0.02
"""Differences below these are none: of the median, for sizes; as they are, for forms and asymmetries."""
_DRAWN = 400_000
"""Normal values by which the limit of chance is found."""


@dataclass(frozen=True)
class Outlier:
    """One value that is out of line."""

    fish: str
    organ: str
    measure: Measure
    value: float
    median: float
    z: float
    """Modified z-score."""
    against: str
    """Of which fish the median is: of a group, or of all."""

    @property
    def said(self) -> str:
        """In words."""
        unit = f" {self.measure.unit}" if self.measure.unit else ""
        way = "above" if self.z > 0 else "below"
        return (
            f"{self.organ}: {self.measure.title.lower()} {self.value:.3g}{unit}, {way} the median of {self.against}, "
            f"{self.median:.3g}{unit} (modified z {self.z:+.1f})"
        )


@dataclass(frozen=True)
class Outliers:
    """What was found, and how much of it chance alone would be."""

    found: tuple[Outlier, ...]
    """Beyond 3.5, the farthest first."""
    values: int
    """That were looked at; 0 where there are too few fish."""
    chance_limit: float
    """Of as many normally distributed values in such groups about one is beyond it; never below 3.5."""


def find_outliers(fish: Sequence[FishRecord], *, cut_off: bool = False) -> Outliers:
    """Every value that is out of line; `cut_off`: organs that reach the border of their scan are looked at too."""
    found, values = [], 0
    for organ in organ_names(fish):
        for measure in MEASURES:
            counted = [(one, measure.counted(one, one.organ(organ), cut_off=cut_off)) for one in fish]
            known = [(one, value) for one, value in counted if not isinstance(value, str)]
            if len(known) < FEWEST_FISH:
                continue
            values += len(known)
            found += _outliers(organ, measure, known)
    found.sort(key=lambda outlier: -abs(outlier.z))
    sizes = list(Counter(one.group for one in fish).values())
    return Outliers(tuple(found), values, chance_limit(sizes, values))


def _outliers(organ: str, measure: Measure, known: Sequence[tuple[FishRecord, float]]) -> list[Outlier]:
    groups = [one.group for one, _ in known]
    medians, scores = modified_z([value for _, value in known], groups)
    sizes = Counter(groups)
    alone = len(sizes) == 1
    return [
        Outlier(
            fish=one.name,
            organ=organ,
            measure=measure,
            value=value,
            median=median,
            z=z,
            against="all fish" if alone or sizes[one.group] < FEWEST_FISH else f"group {one.group}",
        )
        for (one, value), median, z in zip(known, medians, scores, strict=True)
        if abs(z) > LIMIT and abs(value - median) > _floor(measure, median, one)
    ]


def modified_z(values: Sequence[float], groups: Sequence[str]) -> tuple[list[float], list[float]]:
    """The median that each value is held against, and its modified z-score; 0 where all are the same."""
    data, named = np.asarray(values, dtype=np.float64), np.asarray(groups)
    medians = np.full(len(data), np.median(data))
    used = {"": 0}  # of each median its fish; that of all is used where a group is small
    for group, size in Counter(groups).items():
        own = group if size >= FEWEST_FISH else ""
        used[own] = used.get(own, 0) + size
        if own:
            medians[named == group] = np.median(data[named == group])
    return medians.tolist(), _scores(data - medians, sum(count > 0 for count in used.values())).tolist()


def chance_limit(sizes: Sequence[int], values: int) -> float:
    """The modified z-score that about one of so many values is beyond, if fish of groups of these sizes differ by
    chance alone, as normal distributions do. By simulation, the same in every run; never below LIMIT."""
    if not values:
        return LIMIT
    own = [size for size in sizes if size >= FEWEST_FISH]
    rest = sum(sizes) - sum(own)
    rng = np.random.default_rng(0)
    count = max(1, _DRAWN // sum(sizes))
    drawn = [rng.normal(size=(count, size)) for size in (*own, rest) if size]
    deviations = np.concatenate([one - np.median(one, axis=1, keepdims=True) for one in drawn], axis=1)
    scores = np.abs(_scores(deviations, len(drawn)))
    return max(LIMIT, float(np.quantile(scores, 1 - 1 / max(values, 2))))


def _scores(deviations: NDArray[np.float64], medians: int) -> NDArray[np.float64]:
    """Of deviations from so many medians, along the last axis."""
    size = np.abs(deviations)
    count = deviations.shape[-1]
    mad = np.median(size, axis=-1, keepdims=True) / _MAD_OF_SD
    spread = np.where(mad > 0, mad, size.mean(axis=-1, keepdims=True) / _MEAN_OF_SD)
    spread = spread * count / (count - _SMALL * medians)
    scores: NDArray[np.float64] = np.divide(deviations, spread, out=np.zeros_like(deviations), where=spread > 0)
    return scores


def _floor(measure: Measure, median: float, fish: FishRecord) -> float:
    if measure.floor == "share":
        return _LEAST_SHARE * abs(median)
    return fish.voxel_mm if measure.floor == "voxel" else _LEAST_ABSOLUTE
