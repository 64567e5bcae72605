"""Standing verdicts: those of people that teach, on which all who looked at the same mask agree.

A verdict is for ever on the mask that was seen. Where that lies in data/reviews, slice and mask are an example for the
Quality Classifier, whatever is segmented there by now. Where it is the very mask that the pseudo-labels have, refine
goes by it too, for it decides what the Student learns, and of another mask nobody has said anything. What was judged of
a slice whose truth is known, since somebody corrected it later, is an example like any other: of what a person calls
good, which a score against the truth can only stand for. Of validation volumes it is none: they choose nothing.

Single organs teach refine alone. The classifier learns the Dice of organs, and that one is bad says that its Dice is
below what somebody thinks good, and not how much below; nor is a slice good of which one organ is.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scans.hashes import file_sha256
from scans.mask_digest import mask_sha256
from scans.organs import OrganMap
from scans.reviews import ReviewTally, masks_dir
from training.data.prepared import Catalogue, VolumeRecord
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, PseudoLabelReader
from training.quality.examples import Candidate
from training.quality.reviewed_masks import ReviewedMasks, classes_by_name
from training.quality.reviews import GivenReviews, Review, Reviewable, read_given

log = logging.getLogger(__name__)

Place = tuple[str, int]
"""A volume's id and the index of a slice."""
Unused = Literal["other_masks", "other_scans", "other_organs", "held_out"]
"""Why a verdict teaches nothing, as the tally calls it."""
_WHY: Mapping[Unused, str] = {
    "other_masks": "are of other masks than the pseudo-labels there are now, not at hand, or on organs in them",
    "other_scans": "are of masks that have not the size of their slices: they are of other scans of the same name",
    "other_organs": "are of masks of a model that had other organs than the data set",
    "held_out": "are of validation volumes, which choose nothing",
}


@dataclass(frozen=True)
class StandingVerdicts:
    """What people say: True is good."""

    slices: Mapping[Place, bool] = field(default_factory=dict)
    """Of pseudo-labels, as they are."""
    organs: Mapping[Place, Mapping[str, bool]] = field(default_factory=dict)
    """Of single organs in them, by name."""
    examples: tuple[Candidate, ...] = field(default=(), compare=False)
    """Slices with the masks that were judged, in the class indices of the data set."""
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
    """What reviews.csv says of slices of a data set, with the masks beside it. Raises ReviewsError."""
    records = catalogue.volumes
    there = Reviewable(
        {record.id: record.shape[0] for record in records if record.split == "unlabelled"},
        catalogue.organs.names,
        labelled={record.id: record.shape[0] for record in records if record.split != "unlabelled"},
        scans={record.origin.scan: record.id for record in records if record.origin is not None},
    )
    judged = JudgedMasks(catalogue, PseudoLabelReader(pseudo_labels_dir), ReviewedMasks(masks_dir(path)))
    return standing(read_given(path, there), judged, sha256=file_sha256(path))


@dataclass(frozen=True)
class Subject:
    """What a verdict is on."""

    place: Place
    digest: str
    """Of the mask; empty: it is the pseudo-label's."""
    organs: tuple[str, ...] = ()
    """What the mask's class indices stand for; of a pseudo-label it needs no saying."""
    organ: str = ""
    """Empty: the slice."""


@dataclass(frozen=True)
class JudgedMasks:
    """The masks that verdicts may be on."""

    catalogue: Catalogue
    pseudo_labels: PseudoLabelReader
    kept: ReviewedMasks
    _digests: dict[Place, str] = field(default_factory=dict)

    def subject(self, review: Review) -> Subject | Unused:
        """What a verdict is on, if it teaches there; else why it does not."""
        place = (review.volume_id, review.slice_index)
        record, theirs = self._records[review.volume_id], review.organs or self.catalogue.organs.names
        if not review.mask_sha256 or (not record.labelled and review.mask_sha256 == self._present(place)):
            return Subject(place, "", organ=review.organ)
        if review.organ:
            return "other_masks"
        if record.split == "validation":
            return "held_out"
        unused = self._unused(review.mask_sha256, theirs, record)
        return Subject(place, review.mask_sha256, theirs) if unused is None else unused

    def _unused(self, digest: str, theirs: Sequence[str], record: VolumeRecord) -> Unused | None:
        """Why a mask that is no pseudo-label can be no example; None where it can."""
        mask = self.kept.read(digest)
        if mask is None:
            return "other_masks"
        if mask.shape != record.shape[1:]:
            return "other_scans"
        if classes_by_name(theirs, self.catalogue.organs.names) is None or mask.max(initial=0) > len(theirs):
            return "other_organs"
        return None

    def example(self, subject: Subject, *, good: bool) -> Candidate:
        """A slice, as a whole, with the mask that was judged."""
        if subject.digest:
            read = partial(self.kept.in_organs, subject.digest, subject.organs, self.catalogue.organs.names)
        else:
            read = partial(self.pseudo_labels.labels, *subject.place)
        return Candidate(*subject.place, good, None, None, "review", read)

    def _present(self, place: Place) -> str:
        if place not in self._digests:
            self._digests[place] = mask_sha256(self.pseudo_labels.labels(*place))
        return self._digests[place]

    @cached_property
    def _records(self) -> dict[str, VolumeRecord]:
        return {record.id: record for record in self.catalogue.volumes}


def standing(given: GivenReviews, judged: JudgedMasks, *, sha256: str) -> StandingVerdicts:
    """Of reviews, those that are on masks that are there, where they name one, and that nobody contradicts.

    What is said differently of the same, be it by one reviewer, teaches nothing; how many are left out for which
    reason, the log and the tally tell. `sha256` is that of the file.
    """
    opinions: dict[Subject, list[Review]] = {}
    unused: Counter[Unused] = Counter()
    for review in given.reviews:
        subject = judged.subject(review)
        if isinstance(subject, Subject):
            opinions.setdefault(subject, []).append(review)
        else:
            unused[subject] += 1
    for why, count in unused.items():
        log.warning("%d reviews %s: they teach nothing", count, _WHY[why])
    agreed = {subject: said[0].good for subject, said in opinions.items() if len({one.good for one in said}) == 1}
    if len(agreed) < len(opinions):
        differing = len(opinions) - len(agreed)
        log.warning("of %d slices or organs reviewers say good and bad: these teach nothing", differing)
    disputed = sum(len(said) for subject, said in opinions.items() if subject not in agreed)
    unused["other_scans"] += given.elsewhere
    tally = _tally({subject: opinions[subject] for subject in agreed}, unused, sha256=sha256, disputed=disputed)
    organs: dict[Place, dict[str, bool]] = {}
    for subject, good in agreed.items():
        if subject.organ:
            organs.setdefault(subject.place, {})[subject.organ] = good
    of_slices = {subject: good for subject, good in agreed.items() if not subject.organ}
    return StandingVerdicts(
        {subject.place: good for subject, good in of_slices.items() if not subject.digest},
        organs,
        tuple(judged.example(subject, good=good) for subject, good in of_slices.items()),
        tally if tally.given else None,
    )


def _tally(
    agreed: Mapping[Subject, Sequence[Review]], unused: Counter[Unused], *, sha256: str, disputed: int
) -> ReviewTally:
    teaching: Collection[Review] = [review for said in agreed.values() for review in said]
    return ReviewTally(
        sha256,
        good=sum(review.good and not review.organ for review in teaching),
        bad=sum(not review.good and not review.organ for review in teaching),
        on_organs=sum(bool(review.organ) for review in teaching),
        disputed=disputed,
        reviewers=tuple(sorted({review.reviewer for review in teaching if review.reviewer})),
        on_pseudo_labels=sum(len(said) for subject, said in agreed.items() if not subject.digest),
        other_masks=unused["other_masks"],
        other_scans=unused["other_scans"],
        other_organs=unused["other_organs"],
        held_out=unused["held_out"],
    )
