"""Findings: what is to be said of each fish before its numbers are believed, in words, the gravest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ricefish.atlas.outliers import FEWEST_FISH, Outlier, Outliers
from ricefish.atlas.records import FishRecord
from ricefish.atlas.summary import organ_names

_FOUND_IN_MOST = 0.8
"""Share of the other fish in which an organ has to be for its absence to be told."""


@dataclass(frozen=True)
class FishFinding:
    """Of one fish."""

    fish: FishRecord
    clear: tuple[str, ...]
    """What is unlike in its labels, and organs that are farther out of line than chance would have any."""
    others: tuple[str, ...]
    """Organs that are out of line by less."""


def findings(fish: Sequence[FishRecord], judged: Outliers) -> list[FishFinding]:
    """Of each fish of which there is anything to say; what is unlike in labels before what is far out of line."""
    found = []
    for one in fish:
        own = [outlier for outlier in judged.found if outlier.fish == one.name]
        clear = {outlier.organ for outlier in own if abs(outlier.z) > judged.chance_limit}
        sentences = {organ: _sentence([outlier for outlier in own if outlier.organ == organ]) for organ in _organs(own)}
        remarks = _remarks(one, fish)
        finding = FishFinding(
            one,
            (*remarks, *(said for organ, said in sentences.items() if organ in clear)),
            tuple(said for organ, said in sentences.items() if organ not in clear),
        )
        if finding.clear or finding.others:
            found.append((len(remarks), max((abs(outlier.z) for outlier in own), default=0.0), finding))
    return [finding for _, _, finding in sorted(found, key=lambda one: (-one[0], -one[1]))]


def of_all(fish: Sequence[FishRecord]) -> list[str]:
    """What is to be said of all fish at once, a sentence each."""
    if not _mostly_mirrored(fish):
        return []
    count = sum(one.mirrored for one in fish)
    return [
        f"in {count} of {len(fish)} fish left organs lie where a fish has its right ones: their files mirror them, as "
        "stacks do whose slices run the other way; nothing is measured otherwise for it"
    ]


def _mostly_mirrored(fish: Sequence[FishRecord]) -> bool:
    return 2 * sum(one.mirrored for one in fish) > len(fish) > 1


def _organs(outliers: Sequence[Outlier]) -> list[str]:
    return list(dict.fromkeys(outlier.organ for outlier in outliers))


def _sentence(outliers: Sequence[Outlier]) -> str:
    """Of one organ: what is farthest out of line, and what else is."""
    first, *rest = outliers
    also = ", ".join(outlier.measure.title.lower() for outlier in rest)
    return f"{first.said}{f'; also its {also}' if also else ''}"


def _remarks(one: FishRecord, fish: Sequence[FishRecord]) -> list[str]:
    remarks = []
    if one.mirrored and not _mostly_mirrored(fish):
        remarks.append("its left organs lie where a fish has its right ones: the scan, or the names, are mirrored")
    if not one.determined:
        remarks.append("it is no longer than wide or high, so that places and extents along its axes mean nothing")
    others = [other for other in fish if other is not one]
    for organ in organ_names(fish):
        own = one.organ(organ)
        having = [other for other in others if (its := other.organ(organ)) is not None and its.voxels]
        enough = len(fish) >= FEWEST_FISH and len(having) >= _FOUND_IN_MOST * len(others)
        if (own is None or not own.voxels) and enough:
            remarks.append(f"{organ}: not found; {len(having)} of the {len(others)} other fish have it")
    return remarks
