"""Offers: which slices of a finished scan are worth a look, and how uncertain each is.

A scan is cut into MOST_OFFERED stretches of equal length, and of each the most uncertain slice is offered: neighbours
look alike, and no scan offers more than others. How uncertain a slice is, 0..1, is said by whoever knows most of it:

- the Quality Classifier: how near its probability is to the threshold, 1 on it and 0 at the far end; where it expects a
  Dice of organs, the mean of that and of 1 less the least Dice in the slice, whose organ is in question;
- without it, the model: 1 less its mean confidence in the slice's organs, in slices in which it was asked; the organ
  that it is least sure of is in question;
- without either, nobody: the middle slice of each stretch is offered, one that halves what is left before the others.

Slices in which no organ was found are offered in the last case alone: of those nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scans.model.judgement import Judgement
from scans.organs import OrganMap

MOST_OFFERED = 32
"""Slices of one scan."""
_UNKNOWN = 0.5
"""Uncertainty of a slice of which nothing is known."""
_RANK = 1e-3
"""By which one of them goes before the next."""


@dataclass(frozen=True)
class Offer:
    """A slice across z that is worth a look."""

    slice_index: int
    uncertainty: float
    """0..1."""
    organ: str = ""
    """In question; empty where nobody knows which."""
    good: float | None = None
    """Probability that its segmentation is good, as the Quality Classifier sees it."""
    dice: float | None = None
    """That it expects of the organ in question."""
    confidence: float | None = None
    """The model's, mean over the organs of the slice."""


def offers(depth: int, *, judgement: Judgement | None, threshold: float | None, organs: OrganMap) -> list[Offer]:
    """Of a scan of `depth` slices, upwards, at most MOST_OFFERED. `threshold` is the Quality Classifier's."""
    if judgement is not None and threshold is not None and len(judgement.good) == depth:
        known = _of_classifier(judgement, threshold, organs)
    elif judgement is not None and judgement.sampled:
        known = _of_confidence(judgement, organs)
    else:
        return _evenly(depth)
    best: dict[int, Offer] = {}
    for offer in known:
        stretch = offer.slice_index * MOST_OFFERED // max(depth, MOST_OFFERED)
        if stretch not in best or offer.uncertainty > best[stretch].uncertainty:
            best[stretch] = offer
    return sorted(best.values(), key=lambda offer: offer.slice_index)


def _of_classifier(judgement: Judgement, threshold: float, organs: OrganMap) -> Iterator[Offer]:
    confidence = {sample.slice_index: sample.confidence for sample in judgement.sampled}
    farthest = max(threshold, 1 - threshold)
    for index, (good, voxels) in enumerate(zip(judgement.good, judgement.organ_voxels, strict=True)):
        if not voxels:
            continue
        doubt, organ, dice = 1 - abs(good - threshold) / farthest, 0, None
        if judgement.least_organ and (organ := judgement.least_organ[index]):
            dice = judgement.least_dice[index]
            doubt = (doubt + 1 - dice) / 2
        name = organs.names[organ - 1] if organ else ""
        yield Offer(index, _share(doubt), name, good=good, dice=dice, confidence=confidence.get(index))


def _of_confidence(judgement: Judgement, organs: OrganMap) -> Iterator[Offer]:
    for sample in judgement.sampled:
        name = organs.names[sample.organ - 1]
        yield Offer(sample.slice_index, _share(1 - sample.confidence), name, confidence=sample.confidence)


def _evenly(depth: int) -> list[Offer]:
    """The middle slices of all stretches; their ranks are the numbers of the stretches with their bits reversed."""
    count = min(depth, MOST_OFFERED)
    middles = [(2 * stretch + 1) * depth // (2 * count) for stretch in range(count)]
    bits = max(1, (count - 1).bit_length())
    ranks = [int(f"{stretch:0{bits}b}"[::-1], 2) for stretch in range(count)]
    return [Offer(index, _UNKNOWN - _RANK * rank) for index, rank in zip(middles, ranks, strict=True)]


def _share(number: float) -> float:
    return min(1.0, max(0.0, number))
