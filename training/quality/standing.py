"""Standing verdicts: those of people on the pseudo-labels that there are, on which all who looked agree."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.mask_digest import mask_sha256
from scans.organs import OrganMap
from training.data.prepared import Catalogue, VolumeRecord
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, PseudoLabelReader
from training.quality.reviews import Review, Reviewable, read_reviews

log = logging.getLogger(__name__)

Place = tuple[str, int]
"""A volume's id and the index of a slice."""


@dataclass(frozen=True)
class StandingVerdicts:
    """What people say of pseudo-labels: True is good."""

    slices: Mapping[Place, bool] = field(default_factory=dict)
    organs: Mapping[Place, Mapping[str, bool]] = field(default_factory=dict)
    """Of single organs in slices, by name."""

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
    reviews = read_reviews(path, Reviewable(slices, catalogue.organs.names, scans))
    return standing(reviews, PseudoLabelReader(pseudo_labels_dir))


def standing(reviews: Iterable[Review], store: PseudoLabelReader) -> StandingVerdicts:
    """Of reviews, those that are on the very masks in the store, where they name one, and that nobody contradicts.

    What is said differently of the same, be it by one reviewer, teaches nothing; how many are left out for which
    reason, the log tells.
    """
    digests: dict[Place, str] = {}
    opinions: dict[tuple[Place, str], set[bool]] = {}
    others = 0
    for review in reviews:
        place = (review.volume_id, review.slice_index)
        if review.mask_sha256:
            if place not in digests:
                digests[place] = mask_sha256(store.labels(*place))
            if digests[place] != review.mask_sha256:
                others += 1
                continue
        opinions.setdefault((place, review.organ), set()).add(review.good)
    if others:
        log.warning("%d reviews are of other masks than the pseudo-labels there are now, and teach nothing", others)
    if disputed := sum(len(said) > 1 for said in opinions.values()):
        log.warning("of %d slices or organs reviewers say good and bad: these teach nothing", disputed)
    agreed = {key: next(iter(said)) for key, said in opinions.items() if len(said) == 1}
    organs: dict[Place, dict[str, bool]] = {}
    for (place, organ), good in agreed.items():
        if organ:
            organs.setdefault(place, {})[organ] = good
    return StandingVerdicts({place: good for (place, organ), good in agreed.items() if not organ}, organs)
