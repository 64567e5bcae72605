"""Reviewing: reviews as reviewers have them: the next slice, what they say of it, and what has been said."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scans.mask_digest import mask_sha256
from scans.mask_picture import mask_png
from scans.reviews import Verdict
from serving.auth.identity import ANYONE, Identity
from serving.observability import logs
from serving.observability.reasons import reason
from serving.queue.jobs import Job, Jobs, ScanNotFound, WrongState
from serving.queue.scan import Scan
from serving.review.claims import CLAIM_SECONDS, Claims
from serving.review.enrolment import enrol, volume_id
from serving.review.offers import Offer
from serving.review.records import JudgedMask, KeptReview, Records, ReviewFilter
from serving.segmentation.results import Results
from serving.storage import DataDamaged
from serving.storage.database import Database

_MOST_DAMAGED = 8
"""Slices that cannot be shown, after which nobody looks for another."""
_PAUSE_SECONDS = 300.0
"""A longer one between two verdicts is no work."""
_DAY_SECONDS = 86_400.0


class OtherMask(ValueError):
    """The mask that was seen is not the one that is stored."""


class MaskNotKept(LookupError):
    """The mask that a verdict is on is nowhere any more."""


class ReviewRefused(ValueError):
    """A verdict that cannot be taken; the message names the field and what would be right."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Question:
    """A slice to be judged."""

    scan: Scan
    offer: Offer
    mask_sha256: str
    """Of the mask that its picture shows."""
    organs: tuple[str, ...]
    """In the mask, by name, in the order of class indices."""
    until_seconds: float
    """When others may be given it, seconds since 1970."""

    @property
    def volume(self) -> str:
        """What training calls the scan."""
        return volume_id(self.scan)


@dataclass(frozen=True)
class Said:
    """A verdict as it comes in."""

    scan_id: str
    slice_index: int
    """Across z."""
    verdict: Verdict
    mask_sha256: str
    """Of the mask that was seen."""
    organ: str = ""
    """That the verdict is on, by name; empty: the slice."""
    comment: str = ""


@dataclass(frozen=True)
class ReviewerCounts:
    """What one reviewer has done."""

    reviewer: str
    verdicts: dict[Verdict, int]
    """How many of each kind stand."""
    per_hour: float | None
    """Pace of the last day, pauses left out; None where there are no two verdicts to tell by."""


@dataclass(frozen=True)
class Counts:
    """How far the reviewing is."""

    reviewers: list[ReviewerCounts]
    waiting: int
    """Slices on offer that nobody has judged."""
    waiting_for_caller: int
    """Slices on offer that the caller has not judged."""


class Reviews:
    """Reviews on behalf of an identity. Needs no model. Safe to use from several threads and processes."""

    def __init__(
        self, database: Database, jobs: Jobs, results: Results, *, claim_seconds: float = CLAIM_SECONDS
    ) -> None:
        self._database = database
        self._everybodys = jobs
        self._results = results
        self._claims = Claims(database, seconds=claim_seconds)
        self._records = Records(database)
        self._claim_seconds = claim_seconds
        self._caller = ANYONE

    def seen_by(self, identity: Identity) -> Reviews:
        """The same, where the scans that an identity may not review do not exist, and verdicts are its own."""
        theirs = Reviews(self._database, self._everybodys, self._results, claim_seconds=self._claim_seconds)
        theirs._caller = identity
        return theirs

    def next(self) -> Question | None:
        """The slice that is most worth a look and in nobody else's hands; None when there is nothing left.

        Raises DataDamaged where none of the next ones can be shown.
        """
        enrol(self._database)
        trouble: Exception | None = None
        for _ in range(_MOST_DAMAGED):
            claim = self._claims.take(self._caller)
            if claim is None:
                break
            try:
                scan, job = self._finished(claim.scan_id)
                return self._question(scan, job, claim.offer, until=claim.until)
            except (ScanNotFound, WrongState):  # it was removed, or is being made again
                continue
            except (DataDamaged, FileNotFoundError) as error:
                trouble = error
                logs.event("slice_not_shown", level=logging.ERROR, scan=claim.scan_id, error=reason(error))
        if trouble is not None:
            raise trouble
        return None

    def add(self, said: Said) -> tuple[KeptReview, bool]:
        """Writes a verdict down, durably; gives it, and True unless it had been said already. See `Records.add`.

        Raises ScanNotFound, WrongState for a scan that is not finished, SliceNotFound, ReviewRefused for an organ that
        the scan's model does not know, OtherMask, and DataDamaged.
        """
        scan, job = self._finished(said.scan_id)
        if said.organ and said.organ not in scan.organs.names:
            near = difflib.get_close_matches(said.organ, scan.organs.names, n=1) or scan.organs.names
            raise ReviewRefused(f"organ is {said.organ!r}; expected {' or '.join(near)}", field="organ")
        mask = self._results.mask(scan, job, said.slice_index)
        stored = mask_sha256(mask)
        if stored != said.mask_sha256:
            raise OtherMask(f"slice {said.slice_index} of scan {scan.id} has another mask by now; look at it again")
        judged = JudgedMask(
            scan_id=scan.id,
            key_owner=self._everybodys.owner_of(scan.id),
            volume=volume_id(scan),
            axis="z",
            slice_index=said.slice_index,
            mask_sha256=stored,
            model_name=scan.model.name,
            model_version=scan.model.version,
            model_sha256=scan.model.sha256,
            organs=json.dumps(scan.organs.names, ensure_ascii=False),
        )
        return self._records.add(
            self._caller.reviewer,
            judged,
            organ=said.organ,
            verdict=said.verdict,
            comment=said.comment,
            mask_png=mask_png(mask),
        )

    def mask(self, review_id: str) -> bytes:
        """The mask that a verdict is on, as PNG of its class indices: what was kept with it, or the stored one while
        that is the same. Raises ReviewNotFound, MaskNotKept and DataDamaged.
        """
        of = self._records.one(self._caller, review_id).of
        if (kept := self._records.mask_png(of.mask_sha256)) is not None:
            return kept
        try:
            mask = self._results.mask(*self._finished(of.scan_id), of.slice_index)
        except (ScanNotFound, WrongState):
            mask = None
        if mask is None or mask_sha256(mask) != of.mask_sha256:
            raise MaskNotKept(f"the mask that review {review_id} is on was not kept, and its scan has it no longer")
        return mask_png(mask)

    def withdraw(self, review_id: str) -> None:
        """Undoes one's own. Raises ReviewNotFound, and NotAllowed for another reviewer's."""
        self._records.withdraw(self._caller, review_id)

    def page(self, wanted: ReviewFilter, *, limit: int, before: str | None = None) -> list[KeptReview]:
        """At most so many, the newest first, after the review `before`. Raises ReviewNotFound."""
        return self._records.page(self._caller, wanted, limit=limit, before=before)

    def each(self, wanted: ReviewFilter) -> Iterator[KeptReview]:
        """All of them, the newest first."""
        return self._records.each(self._caller, wanted)

    def counts(self) -> Counts:
        """How far everybody is, on the scans that the caller may review."""
        enrol(self._database)
        moments = self._records.moments(self._caller, seconds=_DAY_SECONDS)
        waiting, own = self._claims.waiting(self._caller)
        return Counts(
            [
                ReviewerCounts(reviewer, verdicts, pace(moments.get(reviewer, [])))
                for reviewer, verdicts in self._records.counts(self._caller).items()
            ],
            waiting=waiting,
            waiting_for_caller=own,
        )

    def _finished(self, scan_id: str) -> tuple[Scan, Job]:
        scan, job = self._everybodys.seen_by(self._caller.reviewing()).get(scan_id)
        if job.state != "succeeded":
            raise WrongState(f"scan {scan_id} is {job.state}: only succeeded scans can be reviewed")
        return scan, job

    def _question(self, scan: Scan, job: Job, offer: Offer, *, until: float) -> Question:
        mask = self._results.mask(scan, job, offer.slice_index)
        shown = np.flatnonzero(np.bincount(mask.ravel(), minlength=scan.organs.classes)[1 : scan.organs.classes])
        names = tuple(scan.organs.names[position] for position in shown.tolist())
        return Question(scan, offer, mask_sha256(mask), names, until)


def pace(moments: list[float]) -> float | None:
    """Verdicts an hour, from when they were given, in order, in seconds; longer pauses do not count as work."""
    worked = [gap for before, after in pairwise(moments) if (gap := after - before) <= _PAUSE_SECONDS]
    return 3600 * len(worked) / sum(worked) if sum(worked) > 0 else None
