"""Agreement: voxels that champion and shadow call the same organ, matched by name, and that only one of them does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.measures.metrics import OrganCounts
from scans.organs import OrganMap


class NothingInCommon(ValueError):
    """Two models that know no organ of the same name."""


@dataclass(frozen=True)
class OrganAgreement:
    """Of some slabs; those of slabs add up to that of the scan."""

    organs: tuple[str, ...]
    """Names that both models know, in the champion's order."""
    counts: OrganCounts
    """Of these; the champion stands for the truth, the shadow for the prediction."""

    def __add__(self, other: OrganAgreement) -> OrganAgreement:
        return OrganAgreement(self.organs, self.counts + other.counts)

    @property
    def dice(self) -> dict[str, float | None]:
        """Per organ, 0..1; None where neither found it."""
        return dict(zip(self.organs, self.counts.dice, strict=True))

    def to_dict(self) -> dict[str, list[int]]:
        """{organ: [both, shadow alone, champion alone]}, in voxels."""
        counts = (self.counts.true_positive, self.counts.false_positive, self.counts.false_negative)
        rows = np.stack(counts, axis=1).tolist()
        return dict(zip(self.organs, rows, strict=True))

    @classmethod
    def from_dict(cls, content: Mapping[str, list[int]]) -> OrganAgreement:
        """From what `to_dict` gave."""
        rows = np.array(list(content.values()), dtype=np.int64).reshape(-1, 3)
        return cls(tuple(content), OrganCounts(rows[:, 0], rows[:, 1], rows[:, 2]))


@dataclass(frozen=True)
class Matching:
    """How the class indices of two models are brought together."""

    organs: tuple[str, ...]
    champion: NDArray[np.uint8]
    """uint8 (256,): index in `organs`, from 1, of each class of the champion; 0: background or not in common."""
    shadow: NDArray[np.uint8]
    """uint8 (256,): the same of the shadow."""

    @classmethod
    def of(cls, *, champion: OrganMap, shadow: OrganMap) -> Matching:
        """Organs of the same name are the same; what one of them alone knows is left out. Raises NothingInCommon."""
        organs = tuple(name for name in champion.names if name in shadow.names)
        if not organs:
            raise NothingInCommon(
                f"the champion knows {', '.join(champion.names)}, the shadow {', '.join(shadow.names)}: no organ of "
                f"the same name, so there is nothing to compare"
            )
        return cls(organs, _lookup(champion, organs), _lookup(shadow, organs))

    def none(self) -> OrganAgreement:
        """Of no voxel at all."""
        zero = np.zeros(len(self.organs), dtype=np.int64)
        return OrganAgreement(self.organs, OrganCounts(zero, zero, zero))

    def compare(self, *, champion: NDArray[np.uint8], shadow: NDArray[np.uint8]) -> OrganAgreement:
        """Of two segmentations of the same voxels, uint8 (z, Y, X), each in its own model's class indices."""
        classes = len(self.organs) + 1
        return OrganAgreement(
            self.organs, OrganCounts.of(self.shadow[shadow], self.champion[champion], classes=classes)
        )


def _lookup(organs: OrganMap, common: tuple[str, ...]) -> NDArray[Any]:
    lookup = np.zeros(256, dtype=np.uint8)
    for organ in organs.organs:
        if organ.name in common:
            lookup[organ.index] = common.index(organ.name) + 1
    return lookup
