"""Records: what reviewers said, as rows that are never written over: what no longer stands says since when, and why."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, literal, select, tuple_, update

from scans.reviews import Verdict
from serving.auth.authentication import NotAllowed
from serving.auth.identity import Identity
from serving.review.enrolment import count_looks
from serving.storage.database import Database
from serving.storage.tables import offered_slices, review_masks, reviews

Ending = Literal["replaced", "withdrawn"]

_ROWS = reviews.c
_PAGE = 1000


class ReviewNotFound(LookupError):
    """No review has that id, or none that stands."""

    def __init__(self, review_id: str) -> None:
        super().__init__(f"no review {review_id!r}; it may have been withdrawn or replaced")


@dataclass(frozen=True)
class JudgedMask:
    """What was seen."""

    scan_id: str
    key_owner: str | None
    """Of the scan."""
    volume: str
    """What training calls it."""
    axis: str
    slice_index: int
    mask_sha256: str
    model_name: str
    model_version: str | None
    model_sha256: str
    organs: str | None = None
    """Names of the model's, in the order of class indices, as a JSON list; None: it was not noted."""


@dataclass(frozen=True)
class KeptReview:
    """A verdict of a person on a slice of a segmentation, or on one organ in it."""

    id: str
    created_seconds: float
    """Seconds since 1970."""
    reviewer: str
    of: JudgedMask
    organ: str
    """By name; empty: the verdict is on the slice."""
    verdict: Verdict
    comment: str
    ended_seconds: float | None = None
    """Since when it no longer stands, seconds since 1970; None: it stands."""
    ending: Ending | None = None


@dataclass(frozen=True)
class ReviewFilter:
    """Which reviews are asked for; None: all."""

    scan_id: str | None = None
    reviewer: str | None = None
    verdict: Verdict | None = None
    organ: str | None = None
    """By name; empty: verdicts on slices as a whole."""
    since: float | None = None
    """Seconds since 1970: those that were given then or later."""
    history: bool = False
    """Those that were replaced or withdrawn too."""


class Records:
    """The table of reviews. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        reviewer: str,
        judged: JudgedMask,
        *,
        organ: str,
        verdict: Verdict,
        comment: str,
        mask_png: bytes | None = None,
    ) -> tuple[KeptReview, bool]:
        """Writes a verdict down, durably, in the place of the reviewer's own on the same; gives it, and True if it is
        new. What has been said already is not said again.

        `mask_png` is the mask that was seen, which is kept for ever, once, however often it is judged.
        """
        said = {"verdict": verdict, "comment": comment, "mask_sha256": judged.mask_sha256}
        with self._database.writing() as connection:
            self._database.in_turn(connection)
            if mask_png is not None:
                _keep_mask(connection, judged.mask_sha256, mask_png)
            before = connection.execute(select(reviews).where(_same(reviewer, judged, organ))).one_or_none()
            if before is not None and said.items() <= before._asdict().items():
                return _review(before), False
            if before is not None:
                self._end(connection, _ROWS.id == before.id, "replaced")
            values: dict[str, object] = {"id": uuid.uuid4().hex, "created": self._database.now, **vars(judged), **said}
            values |= {"reviewer": reviewer, "organ": organ}
            row = connection.execute(insert(reviews).values(values).returning(*_ROWS)).one()
            self._looked(connection, judged.scan_id, judged.slice_index)
        return _review(row), True

    def withdraw(self, identity: Identity, review_id: str) -> None:
        """Undoes one's own. Raises ReviewNotFound, and NotAllowed for another reviewer's."""
        with self._database.writing() as connection:
            self._database.in_turn(connection)
            there = and_(_ROWS.id == review_id, _ROWS.ended.is_(None), _seen_by(identity))
            row = connection.execute(select(reviews).where(there)).one_or_none()
            if row is None:
                raise ReviewNotFound(review_id)
            if row.reviewer != identity.reviewer:
                raise NotAllowed(f"review {review_id} is {row.reviewer}'s; reviewers withdraw their own")
            self._end(connection, _ROWS.id == review_id, "withdrawn")
            self._looked(connection, row.scan_id, row.slice_index)

    def one(self, identity: Identity, review_id: str) -> KeptReview:
        """One that an identity may see, be it one that no longer stands. Raises ReviewNotFound."""
        with self._database.reading() as connection:
            there = and_(_ROWS.id == review_id, _seen_by(identity))
            row = connection.execute(select(reviews).where(there)).one_or_none()
        if row is None:
            raise ReviewNotFound(review_id)
        return _review(row)

    def mask_png(self, mask_sha256: str) -> bytes | None:
        """A mask that was judged, as PNG of its class indices; None where it was not kept, as those of verdicts were
        not that are older than the table."""
        query = select(review_masks.c.png).where(review_masks.c.mask_sha256 == mask_sha256)
        with self._database.reading() as connection:
            png: bytes | None = connection.scalar(query)
        return png

    def page(
        self, identity: Identity, wanted: ReviewFilter, *, limit: int, before: str | None = None
    ) -> list[KeptReview]:
        """At most so many that an identity may see, the newest first, after the review `before`. Raises ReviewNotFound
        where that was never there."""
        query = select(reviews).where(_seen_by(identity), *_conditions(wanted))
        if before is not None:
            with self._database.reading() as connection:
                last = connection.execute(select(reviews).where(_ROWS.id == before, _seen_by(identity))).one_or_none()
            if last is None:
                raise ReviewNotFound(before)
            query = query.where(tuple_(_ROWS.created, _ROWS.id) < tuple_(literal(last.created), literal(last.id)))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(_ROWS.created.desc(), _ROWS.id.desc()).limit(limit))
            return [_review(row) for row in rows]

    def each(self, identity: Identity, wanted: ReviewFilter) -> Iterator[KeptReview]:
        """All of them, the newest first, a page at a time."""
        before = None
        while page := self.page(identity, wanted, limit=_PAGE, before=before):
            yield from page
            before = page[-1].id

    def counts(self, identity: Identity) -> dict[str, dict[Verdict, int]]:
        """How many verdicts of each kind stand, by reviewer."""
        counted = select(_ROWS.reviewer, _ROWS.verdict, func.count().label("times"))
        counted = counted.where(_seen_by(identity), _ROWS.ended.is_(None)).group_by(_ROWS.reviewer, _ROWS.verdict)
        found: dict[str, dict[Verdict, int]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(counted.order_by(_ROWS.reviewer)):
                found.setdefault(row.reviewer, {})[row.verdict] = row.times
        return found

    def moments(self, identity: Identity, *, seconds: float) -> dict[str, list[float]]:
        """When each reviewer gave verdicts that stand, in the last so many seconds, in order: seconds since 1970."""
        query = select(_ROWS.reviewer, _ROWS.created).where(
            _seen_by(identity), _ROWS.ended.is_(None), _ROWS.created > self._database.now - seconds
        )
        found: dict[str, list[float]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query.order_by(_ROWS.created)):
                found.setdefault(row.reviewer, []).append(row.created)
        return found

    def _end(self, connection: Connection, which: ColumnElement[bool], ending: Ending) -> None:
        connection.execute(update(reviews).where(which).values(ended=self._database.now, ending=ending))

    @staticmethod
    def _looked(connection: Connection, scan_id: str, slice_index: int) -> None:
        """The slice is in nobody's hands any more, and its looks are counted anew."""
        of_slice = and_(offered_slices.c.scan_id == scan_id, offered_slices.c.slice_index == slice_index)
        connection.execute(update(offered_slices).where(of_slice).values(claimed_by=None, claimed_until=None))
        count_looks(connection, scan_id, slice_index)


def _keep_mask(connection: Connection, mask_sha256: str, png: bytes) -> None:
    kept = connection.scalar(select(review_masks.c.mask_sha256).where(review_masks.c.mask_sha256 == mask_sha256))
    if kept is None:
        connection.execute(insert(review_masks).values(mask_sha256=mask_sha256, png=png))


def _same(reviewer: str, judged: JudgedMask, organ: str) -> ColumnElement[bool]:
    """What a reviewer said of the same, that stands."""
    return and_(
        _ROWS.scan_id == judged.scan_id,
        _ROWS.axis == judged.axis,
        _ROWS.slice_index == judged.slice_index,
        _ROWS.organ == organ,
        _ROWS.reviewer == reviewer,
        _ROWS.ended.is_(None),
    )


def _seen_by(identity: Identity) -> ColumnElement[bool]:
    return identity.reviewing().seen(_ROWS.key_owner)


def _conditions(wanted: ReviewFilter) -> Iterator[ColumnElement[bool]]:
    stated = {
        _ROWS.scan_id: wanted.scan_id,
        _ROWS.reviewer: wanted.reviewer,
        _ROWS.verdict: wanted.verdict,
        _ROWS.organ: wanted.organ,
    }
    yield from (column == value for column, value in stated.items() if value is not None)
    if wanted.since is not None:
        yield _ROWS.created >= wanted.since
    if not wanted.history:
        yield _ROWS.ended.is_(None)


def _review(row: Row[Any]) -> KeptReview:
    return KeptReview(
        id=row.id,
        created_seconds=row.created,
        reviewer=row.reviewer,
        of=JudgedMask(**{name: getattr(row, name) for name in JudgedMask.__dataclass_fields__}),
        organ=row.organ,
        verdict=row.verdict,
        comment=row.comment,
        ended_seconds=row.ended,
        ending=row.ending,
    )
