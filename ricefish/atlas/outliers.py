"""Fish out of line, by the modified z-score of each measure of each organ, and by what is unlike in their labels.

The modified z-score is 0.6745 (x - median) / MAD, and above 3.5 a value is called an outlier: Iglewicz & Hoaglin,
"How to Detect and Handle Outliers", 1993. Where the MAD is 0, as more than half of the fish have the same value, the
mean absolute deviation times 1.2533 stands in its place. Each measure is looked at by itself: a robust Mahalanobis
distance over all needs many times more fish than measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ricefish.atlas.records import MEASURES, FishRecord, Measure
from ricefish.atlas.summary import organ_names

LIMIT = 3.5
FEWEST_FISH = 5
"""With fewer, nobody can say what is in line."""
_MAD_OF_SD, _MEAN_OF_SD = 0.6745, 1 / 1.2533141
"""Median and mean absolute deviation of a normal distribution of standard deviation 1."""
_LEAST_SHARE, _LEAST_ABSOLUTE = 0.02, 0.02
"""Differences below these are none: of the median, for sizes; as they are, for forms and asymmetries."""
_FOUND_IN_MOST = 0.8
"""Share of the other fish in which an organ has to be for its absence to be told."""


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
    """Of which fish the median is: a group's, or all."""

    @property
    def said(self) -> str:
        """In words."""
        unit = f" {self.measure.unit}" if self.measure.unit else ""
        way = "above" if self.z > 0 else "below"
        return (
            f"{self.organ}: {self.measure.title.lower()} {self.value:.3g}{unit}, {way} the median of {self.against}, "
            f"{self.median:.3g}{unit} (modified z {self.z:+.1f})"
        )


def find_outliers(fish: Sequence[FishRecord], *, cut_off: bool = False) -> list[Outlier]:
    """Every value that is out of line with its group, or with all fish where its group has fewer than five."""
    found = []
    for organ in organ_names(fish):
        for measure in MEASURES:
            counted = [(one, measure.counted(one, one.organ(organ), cut_off=cut_off)) for one in fish]
            known = [(one, value) for one, value in counted if not isinstance(value, str)]
            for one, value in known:
                own = [other for peer, other in known if peer.group == one.group]
                peers = own if len(own) >= FEWEST_FISH else [other for _, other in known]
                against = f"group {one.group}" if len(peers) < len(known) else "all fish"
                median, z = modified_z(value, peers)
                floor = _floor(measure, median, one)
                if len(peers) >= FEWEST_FISH and abs(z) > LIMIT and abs(value - median) > floor:
                    found.append(Outlier(one.name, organ, measure, value, median, z, against))
    return sorted(found, key=lambda outlier: -abs(outlier.z))


def modified_z(value: float, peers: Sequence[float]) -> tuple[float, float]:
    """The median of the peers, and the modified z-score of the value among them; 0 where all of them are the same."""
    median = float(np.median(peers))
    deviations = np.abs(np.asarray(peers, dtype=np.float64) - median)
    spread = float(np.median(deviations)) / _MAD_OF_SD or float(deviations.mean()) / _MEAN_OF_SD
    return median, (value - median) / spread if spread else 0.0


def with_remarks(fish: Sequence[FishRecord], outliers: Sequence[Outlier]) -> list[FishRecord]:
    """The fish, each with all that is to be said of it, a sentence each: what is unlike in its labels comes first."""
    return [
        replace(one, out_of_line=(*_remarks(one, fish), *(o.said for o in outliers if o.fish == one.name)))
        for one in fish
    ]


def _remarks(one: FishRecord, fish: Sequence[FishRecord]) -> list[str]:
    remarks = []
    if one.mirrored:
        remarks.append("its left organs lie where a fish has its right ones: the scan, or the names, are mirrored")
    if not one.determined:
        remarks.append("it is no longer than wide or high, so that places and extents along its axes mean nothing")
    others = [other for other in fish if other is not one]
    for organ in organ_names(fish):
        own = one.organ(organ)
        having = [other for other in others if (its := other.organ(organ)) is not None and its.voxels]
        enough = len(others) + 1 >= FEWEST_FISH and len(having) >= _FOUND_IN_MOST * len(others)
        if (own is None or not own.voxels) and enough:
            remarks.append(f"{organ}: not found; {len(having)} of the {len(others)} other fish have it")
    return remarks


def _floor(measure: Measure, median: float, fish: FishRecord) -> float:
    if measure.floor == "share":
        return _LEAST_SHARE * abs(median)
    return fish.voxel_mm if measure.floor == "voxel" else _LEAST_ABSOLUTE
