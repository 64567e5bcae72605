"""Judgement: how good a segmentation seems, slice by slice and organ by organ, added up slab by slab."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from scans.verdicts import Verdicts

_DIGITS = 6
"""Of a probability, so that what is written down is what is read back."""
_SHORT_DIGITS = 4
"""Of what is written down for every slice, and only compared."""
Number = TypeVar("Number", int, float)

_MOST_JUDGED_PIXELS, _MOST_JUDGED_SIDE = 2048 * 2048, 8192


@dataclass(frozen=True)
class OrganQuality:
    """What the Quality Classifier says of the slices in which an organ appears."""

    slices: int
    """In which it appears."""
    good: float | None
    """Mean probability that a slice is good, weighted by the organ's voxels there; None where it appears in none."""
    dice: float | None
    """Mean Dice that is expected of the organ in a slice, weighted in the same way; None where none is expected."""


class SampledSlice(NamedTuple):
    """A slice in which the model was asked how sure it is, and which holds an organ."""

    slice_index: int
    confidence: float
    """Mean winning probability of the voxels of its organs, 0..1."""
    organ: int
    """Class index of the organ in it that the model is least sure of."""


@dataclass(frozen=True)
class Judgement:
    """Of the first slices of a volume; those of the following ones are added on the right.

    Everything is exact, or added in the order of slices, so that it is the same however often the work was interrupted.
    """

    good: tuple[float, ...]
    """For each slice, the probability that its segmentation is good; none without a Quality Classifier."""
    organ_voxels: tuple[int, ...]
    """Of all organs, for each slice that was judged."""
    weighted: tuple[float, ...]
    """Sum over slices of voxels times probability, for each organ in the order of class indices."""
    voxels: tuple[int, ...]
    """Voxels of each organ in the slices that were judged."""
    slices: tuple[int, ...]
    """In how many of them each organ appears."""
    confidence_sum: float
    """Of the winning probability over the organs' voxels of the sampled slices."""
    confidence_voxels: int
    dice_weighted: tuple[float, ...] | None = None
    """Sum over slices of voxels times expected Dice, for each organ; None where no slice was judged, or not so."""
    least_organ: tuple[int, ...] = ()
    """For each slice, class index of the organ in it of which the least Dice is expected, 0 where there is none; empty
    where none is expected at all."""
    least_dice: tuple[float, ...] = ()
    """For each slice, the Dice that is expected of that organ; 1 where there is none."""
    sampled: tuple[SampledSlice, ...] = ()
    """Those slices, upwards, whose confidence was looked at."""

    @classmethod
    def empty(cls, organs: int) -> Judgement:
        """Of no slices at all: what adding up begins with."""
        return cls((), (), (0.0,) * organs, (0,) * organs, (0,) * organs, 0.0, 0)

    @classmethod
    def of_quality(cls, segmentation: NDArray[np.uint8], verdicts: Verdicts, *, organs: int) -> Judgement:
        """Of class indices, uint8 (z, Y, X), and what the Quality Classifier says of them.

        Raises ValueError unless there are as many verdicts as slices, and of as many organs.
        """
        good, dice = verdicts
        if good.shape != (len(segmentation),):
            raise ValueError(f"{len(segmentation)} slices and probabilities of shape {good.shape}")
        if dice is not None and dice.shape != (len(segmentation), organs):
            raise ValueError(f"{len(segmentation)} slices with {organs} organs, and Dice of shape {dice.shape}")
        probabilities = [round(float(p), _DIGITS) for p in good]
        counts = slice_voxels(segmentation, organs=organs)
        weighted = [math.fsum(n * p for n, p in zip(own, probabilities, strict=True)) for own in counts.T.tolist()]
        least_organ, least_dice = ((), ()) if dice is None else _least(counts, dice)
        return cls(
            good=tuple(probabilities),
            organ_voxels=tuple(counts.sum(axis=1).tolist()),
            weighted=tuple(weighted),
            voxels=tuple(counts.sum(axis=0).tolist()),
            slices=tuple(np.count_nonzero(counts, axis=0).tolist()),
            confidence_sum=0.0,
            confidence_voxels=0,
            dice_weighted=None if dice is None else _weighted(counts, dice),
            least_organ=least_organ,
            least_dice=least_dice,
        )

    @classmethod
    def of_confidence(
        cls, segmentation: NDArray[np.uint8], confidence: NDArray[np.float32], *, organs: int, index: int | None = None
    ) -> Judgement:
        """Of sampled slices alone: class indices, uint8 (n, Y, X), and the winning probability, float32 (n, Y, X).

        `index` is that of the first of them in the volume, where they follow one another and are to be kept apart.
        """
        shown = confidence[segmentation > 0]
        total = float(shown.sum(dtype=np.float64))
        planes = () if index is None else enumerate(zip(segmentation, confidence, strict=True), start=index)
        found = (_sampled(number, *plane) for number, plane in planes)
        return replace(
            cls.empty(organs),
            confidence_sum=total,
            confidence_voxels=int(shown.size),
            sampled=tuple(slice_ for slice_ in found if slice_ is not None),
        )

    def __add__(self, other: Judgement) -> Judgement:
        """Of both; `other` is of the slices that follow, or of samples of the same."""
        return Judgement(
            good=self.good + other.good,
            organ_voxels=self.organ_voxels + other.organ_voxels,
            weighted=tuple(a + b for a, b in zip(self.weighted, other.weighted, strict=True)),
            voxels=tuple(a + b for a, b in zip(self.voxels, other.voxels, strict=True)),
            slices=tuple(a + b for a, b in zip(self.slices, other.slices, strict=True)),
            confidence_sum=self.confidence_sum + other.confidence_sum,
            confidence_voxels=self.confidence_voxels + other.confidence_voxels,
            dice_weighted=self._dice_weighted_with(other),
            least_organ=self._least_with(self.least_organ, other, other.least_organ, 0),
            least_dice=self._least_with(self.least_dice, other, other.least_dice, 1.0),
            sampled=self.sampled + other.sampled,
        )

    def _least_with(
        self, own: tuple[Number, ...], other: Judgement, theirs: tuple[Number, ...], unknown: Number
    ) -> tuple[Number, ...]:
        """One for each slice that was judged, also where nothing was expected of some of them."""
        if not own and not theirs:
            return ()
        before, after = len(self.good) - len(own), len(other.good) - len(theirs)
        return own + (unknown,) * before + theirs + (unknown,) * after

    def _dice_weighted_with(self, other: Judgement) -> tuple[float, ...] | None:
        if not self.good or not other.good:
            return other.dice_weighted if not self.good else self.dice_weighted
        if self.dice_weighted is None or other.dice_weighted is None:
            return None
        return tuple(a + b for a, b in zip(self.dice_weighted, other.dice_weighted, strict=True))

    @property
    def confidence(self) -> float | None:
        """Mean winning probability of the organs' voxels, 0..1; None where no sampled slice holds an organ."""
        return self.confidence_sum / self.confidence_voxels if self.confidence_voxels else None

    @property
    def mean_good(self) -> float | None:
        """Mean probability over the slices that hold organs; None where there are none."""
        shown = self._with_organs()
        return math.fsum(shown) / len(shown) if shown else None

    def bad_share(self, threshold: float) -> float | None:
        """Share of the slices with organs, 0..1, whose probability is below the threshold; None without such slices."""
        shown = self._with_organs()
        return sum(p < threshold for p in shown) / len(shown) if shown else None

    @property
    def slices_with_organs(self) -> int:
        """How many judged slices hold any organ."""
        return len(self._with_organs())

    def of_organs(self) -> list[OrganQuality]:
        """For each organ, in the order of class indices; of none where no slice was judged."""
        if not self.good:
            return []
        dice = self.dice_weighted or (None,) * len(self.voxels)
        return [
            OrganQuality(
                slices,
                good=weighted / voxels if voxels else None,
                dice=of_organ / voxels if voxels and of_organ is not None else None,
            )
            for weighted, of_organ, voxels, slices in zip(self.weighted, dice, self.voxels, self.slices, strict=True)
        ]

    def _with_organs(self) -> list[float]:
        return [p for p, voxels in zip(self.good, self.organ_voxels, strict=True) if voxels]

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads back, in types that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Judgement:
        """From what `to_dict` gave, through JSON or not."""
        return cls(
            good=tuple(content["good"]),
            organ_voxels=tuple(content["organ_voxels"]),
            weighted=tuple(content["weighted"]),
            voxels=tuple(content["voxels"]),
            slices=tuple(content["slices"]),
            confidence_sum=content["confidence_sum"],
            confidence_voxels=content["confidence_voxels"],
            dice_weighted=None if (dice := content.get("dice_weighted")) is None else tuple(dice),
            least_organ=tuple(content.get("least_organ", ())),
            least_dice=tuple(content.get("least_dice", ())),
            sampled=tuple(SampledSlice(*slice_) for slice_ in content.get("sampled", ())),
        )


def _least(counts: NDArray[np.int64], dice: NDArray[np.float32]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Voxels and Dice, both (z, organs) -> the organ of the least Dice among those in each slice, and its Dice."""
    shown = np.where(counts > 0, dice.astype(np.float64), np.inf)
    organ, least = shown.argmin(axis=1), shown.min(axis=1)
    known = np.isfinite(least)
    return (
        tuple(np.where(known, organ + 1, 0).tolist()),
        tuple(np.where(known, np.round(least, _SHORT_DIGITS), 1.0).tolist()),
    )


def _sampled(index: int, segmentation: NDArray[np.uint8], confidence: NDArray[np.float32]) -> SampledSlice | None:
    """Of class indices and winning probability, both (Y, X); None where there is no organ."""
    holds = segmentation > 0
    classes, shown = segmentation[holds], confidence[holds]
    if not classes.size:
        return None
    voxels = np.bincount(classes)
    means = np.bincount(classes, weights=shown)[voxels > 0] / voxels[voxels > 0]
    organ = int(np.flatnonzero(voxels)[means.argmin()])
    return SampledSlice(index, round(float(shown.mean(dtype=np.float64)), _DIGITS), organ)


def _weighted(counts: NDArray[np.int64], dice: NDArray[np.float32]) -> tuple[float, ...]:
    """Voxels (z, organs) times Dice, summed over slices."""
    rounded = np.round(dice.astype(np.float64), _DIGITS)
    return tuple(math.fsum(column) for column in (counts * rounded).T.tolist())


def slice_voxels(segmentation: NDArray[np.uint8], *, organs: int) -> NDArray[np.int64]:
    """Class indices, uint8 (z, Y, X) -> int64 (z, organs): voxels of each organ in each slice."""
    from scipy import ndimage  # noqa: PLC0415  half a second that a server starts without

    counts = np.zeros((len(segmentation), organs), np.int64)
    for index, place in enumerate(ndimage.find_objects(segmentation, max_label=organs)):
        if place is not None:
            counts[place[0], index] = np.count_nonzero(segmentation[place] == index + 1, axis=(1, 2))
    return counts


def judged_pixels(height: int, width: int) -> tuple[slice, slice]:
    """Which rows and columns of a slice the Quality Classifier is shown, which makes a small square of them.

    All; beyond 2048 x 2048 pixels, or 8192 along a side, every second, or every third, and so on: organs of fewer rows
    may be missed.
    """
    down, across = math.ceil(height / _MOST_JUDGED_SIDE), math.ceil(width / _MOST_JUDGED_SIDE)
    left = math.ceil(height / down) * math.ceil(width / across)
    more = math.ceil(math.sqrt(left / _MOST_JUDGED_PIXELS))
    return slice(None, None, down * more), slice(None, None, across * more)


def sampled_slices(start: int, stop: int, depth: int) -> range:
    """Which of the slices [start, stop) of a volume of `depth` slices confidence is looked at in.

    The middle one of each group of 8, 16 or 32: at least 16 where there are so many groups of 8. Which they are depends
    on the volume alone.
    """
    group = 8
    while group < 32 and group * 32 < depth:
        group *= 2
    first = start + (group // 2 - start) % group
    return range(first, stop, group)
