"""Standing verdicts: those of people on the pseudo-labels that there are, on which all who looked agree."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.hashes import file_sha256
from scans.mask_digest import mask_sha256
from scans.organs import OrganMap
from scans.reviews import ReviewTally
from training.data.prepared import Catalogue, VolumeRecord
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, PseudoLabelReader
from training.quality.reviews import GivenReviews, Review, Reviewable, read_given

log = logging.getLogger(__name__)

Place = tuple[str, int]
"""A volume's id and the index of a slice."""


@dataclass(frozen=True)
class StandingVerdicts:
    """What people say of pseudo-labels: True is good."""

    slices: Mapping[Place, bool] = field(default_factory=dict)
    organs: Mapping[Place, Mapping[str, bool]] = field(default_factory=dict)
    """Of single organs in slices, by name."""
    tally: ReviewTally | None = field(default=None, compare=False)
    """Of how many verdicts these came; None: of none, be it one that teaches nothing."""

    def keeps(self, place: Place) -> bool | None:
        """Whether a slice is learnt from: one that is good is, as is one of which organs alone are bad (of which the
        others are learnt from); one that is bad is not. None where nobody has said so.
        """
        if place in self.slices:
            return self.slices[place]
        return True if False in self.organs.get(place, {}).values() else None

    def of_organs(self, record: VolumeRecord, organs: OrganMap) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """bool (z, organs), twice: which organs are bad in which slices of a volume, and which are good.

        Where a slice is good, all organs of which nothing else is said are.
        """
        shape = (record.shape[0], len(organs))
        bad, good = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        for (volume_id, index), slice_good in self.slices.items():
            if volume_id == record.id:
                good[index] = slice_good
        for (volume_id, index), verdicts in self.organs.items():
            if volume_id == record.id:
                for name, organ_good in verdicts.items():
                    position = organs.names.index(name)
                    good[index, position], bad[index, position] = organ_good, not organ_good
        return bad, good


NOTHING_SAID = StandingVerdicts()


def read_standing(path: Path, catalogue: Catalogue, *, pseudo_labels_dir: Path = PSEUDO_LABELS_DIR) -> StandingVerdicts:
    """What reviews.csv says of the pseudo-labels of a data set. Raises ReviewsError."""
    records = catalogue.split("unlabelled")
    slices = {record.id: record.shape[0] for record in records}
    scans = {record.origin.scan: record.id for record in records if record.origin is not None}
    given = read_given(path, Reviewable(slices, catalogue.organs.names, scans))
    return standing(given, PseudoLabelReader(pseudo_labels_dir), sha256=file_sha256(path))


def standing(given: GivenReviews, store: PseudoLabelReader, *, sha256: str) -> StandingVerdicts:
    """Of reviews, those that are on the very masks in the store, where they name one, and that nobody contradicts.

    What is said differently of the same, be it by one reviewer, teaches nothing; how many are left out for which
    reason, the log and the tally tell. `sha256` is that of the file.
    """
    digests: dict[Place, str] = {}
    opinions: dict[tuple[Place, str], list[Review]] = {}
    others = 0
    for review in given.reviews:
        place = (review.volume_id, review.slice_index)
        if review.mask_sha256:
            if place not in digests:
                digests[place] = mask_sha256(store.labels(*place))
            if digests[place] != review.mask_sha256:
                others += 1
                continue
        opinions.setdefault((place, review.organ), []).append(review)
    if others:
        log.warning("%d reviews are of other masks than the pseudo-labels there are now, and teach nothing", others)
    disputed = {key: said for key, said in opinions.items() if len({review.good for review in said}) > 1}
    if disputed:
        log.warning("of %d slices or organs reviewers say good and bad: these teach nothing", len(disputed))
    teaching = [review for key, said in opinions.items() if key not in disputed for review in said]
    agreed = {((review.volume_id, review.slice_index), review.organ): review.good for review in teaching}
    organs: dict[Place, dict[str, bool]] = {}
    for (place, organ), good in agreed.items():
        if organ:
            organs.setdefault(place, {})[organ] = good
    of_slices = {place: good for (place, organ), good in agreed.items() if not organ}
    contradicted = sum(len(said) for said in disputed.values())
    tally = _tally(teaching, sha256=sha256, other_masks=others, other_scans=given.elsewhere, disputed=contradicted)
    return StandingVerdicts(of_slices, organs, tally if tally.given else None)


def _tally(
    teaching: Collection[Review], *, sha256: str, other_masks: int, other_scans: int, disputed: int
) -> ReviewTally:
    return ReviewTally(
        sha256,
        good=sum(review.good and not review.organ for review in teaching),
        bad=sum(not review.good and not review.organ for review in teaching),
        on_organs=sum(bool(review.organ) for review in teaching),
        other_masks=other_masks,
        other_scans=other_scans,
        disputed=disputed,
        reviewers=tuple(sorted({review.reviewer for review in teaching if review.reviewer})),
    )
