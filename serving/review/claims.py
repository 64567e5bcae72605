"""Claims: the next slice for a reviewer, and that nobody else is given it meanwhile, whichever process is asked.

Which is next: of the slices that the reviewer has not judged and nobody has in hand, one that nobody has judged goes
before one that others have; among these the one that is worth most. That is its uncertainty, divided

- by 1 + the slices of its scan that were looked at or are in hand, so that no scan dominates;
- by 1 + the share of its folder in all slices that were, and by 1 + the share of its organ in question, each 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, exists, func, or_, select, update

from serving.auth.identity import Identity
from serving.review.offers import Offer
from serving.storage.database import Database
from serving.storage.tables import offered_slices, reviews, scans

CLAIM_SECONDS = 300.0
"""A slice that nobody has judged for so long after it was given goes to whoever asks next."""

_SLICES = offered_slices.c


@dataclass(frozen=True)
class Claim:
    """A slice that a reviewer was given."""

    scan_id: str
    offer: Offer
    until: float
    """When others may be given it, seconds since 1970 by the database's clock."""


class Claims:
    """Slices in the hands of reviewers. Safe to use from several threads and processes."""

    def __init__(self, database: Database, *, seconds: float = CLAIM_SECONDS) -> None:
        """Others are not given a slice for so long."""
        self._database = database
        self._seconds = seconds

    def take(self, identity: Identity) -> Claim | None:
        """The next slice for an identity; None where it has judged all that there are, or others have them in hand.

        Each call gives another slice, until only those are left that the reviewer has in hand: then the one that was
        given first comes again.
        """
        with self._database.writing() as connection:
            self._database.in_turn(connection)
            now = connection.scalar(select(self._database.now)) or 0.0  # once: PostgreSQL would ask for each row
            row = self._next(connection, identity, now) or self._in_hand(connection, identity)
            if row is None:
                return None
            until = now + self._seconds
            taken = update(offered_slices).where(_SLICES.scan_id == row.scan_id, _SLICES.slice_index == row.slice_index)
            values = {"claimed_by": identity.reviewer, "claimed_until": until}
            connection.execute(taken.values(values))
        return Claim(row.scan_id, _offer(row), until)

    def waiting(self, identity: Identity) -> tuple[int, int]:
        """How many slices nobody has judged, and how many this identity has not, of the scans that it may review."""
        query = _offered(identity).with_only_columns(
            func.count(case((_SLICES.judged == 0, 1))), func.count(case((_unjudged_by(identity), 1)))
        )
        with self._database.reading() as connection:
            anybody, own = connection.execute(query).one()
        return anybody, own

    def _next(self, connection: Connection, identity: Identity, now: float) -> Row[Any] | None:
        looked = or_(_SLICES.looks > 0, _SLICES.claimed_until > now)
        total = connection.scalar(select(func.count()).select_from(offered_slices).where(looked)) or 0
        by_scan, by_folder, by_organ = (
            select(column, (func.count() * 1.0).label("looked"))
            .where(looked)
            .group_by(column)
            .cte()
            .prefix_with("MATERIALIZED", dialect="postgresql")
            for column in (_SLICES.scan_id, _SLICES.folder, _SLICES.organ)
        )
        crowding = 1.0 + func.coalesce(by_scan.c.looked, 0.0)
        for of_kind in (by_folder, by_organ):
            crowding *= 1.0 + func.coalesce(of_kind.c.looked, 0.0) / max(total, 1)
        free = or_(_SLICES.claimed_until.is_(None), _SLICES.claimed_until <= now)
        query = _offered(identity).where(_unjudged_by(identity), free)
        query = query.outerjoin(by_scan, by_scan.c.scan_id == _SLICES.scan_id)
        query = query.outerjoin(by_folder, by_folder.c.folder == _SLICES.folder)
        query = query.outerjoin(by_organ, by_organ.c.organ == _SLICES.organ)
        judged_by_others = case((_SLICES.judged > 0, 1), else_=0)
        worth = _SLICES.uncertainty / crowding
        query = query.order_by(judged_by_others, worth.desc(), _SLICES.scan_id, _SLICES.slice_index)
        return connection.execute(query.limit(1)).one_or_none()

    def _in_hand(self, connection: Connection, identity: Identity) -> Row[Any] | None:
        own = and_(_unjudged_by(identity), _SLICES.claimed_by == identity.reviewer)
        query = _offered(identity).where(own).order_by(_SLICES.claimed_until, _SLICES.slice_index)
        return connection.execute(query.limit(1)).one_or_none()


def _offered(identity: Identity) -> Select[Any]:
    """The slices of finished scans that an identity may review."""
    there = and_(scans.c.id == _SLICES.scan_id, scans.c.state == "succeeded")
    return select(offered_slices).join(scans, there).where(identity.reviewing().seen(scans.c.key_owner))


def _unjudged_by(identity: Identity) -> ColumnElement[bool]:
    theirs = and_(
        reviews.c.scan_id == _SLICES.scan_id,
        reviews.c.slice_index == _SLICES.slice_index,
        reviews.c.axis == "z",
        reviews.c.reviewer == identity.reviewer,
        reviews.c.ended.is_(None),
    )
    # what nobody has looked at is not looked up: PostgreSQL would join all with all where it knows no numbers of rows
    return or_(_SLICES.looks == 0, ~exists(select(reviews.c.id).where(theirs)))


def _offer(row: Row[Any]) -> Offer:
    return Offer(
        slice_index=row.slice_index,
        uncertainty=row.uncertainty,
        organ=row.organ,
        good=row.good,
        dice=row.dice,
        confidence=row.confidence,
    )
