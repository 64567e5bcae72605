"""ShadowReport: what has come of comparisons, per pair of models and organ, from the rows in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, func, select

from scans.model.shadow_agreement import ShadowAgreement
from serving.shadow.agreement import OrganAgreement
from serving.storage.database import Database
from serving.storage.sealed import unsealed
from serving.storage.tables import scans, shadows

MOST_PAIRS = 20
MOST_SCANS = 10_000
"""Of a pair; the latest count."""


@dataclass(frozen=True)
class Compared:
    """One of two models."""

    key: str
    name: str
    version: str | None
    """In the registry; None for a model from a folder."""


@dataclass(frozen=True)
class WorstScan:
    """The scan on which two models agree least about an organ."""

    dice: float
    scan_id: str | None
    """None where the scan has been removed."""
    owner: str | None
    """Whose scan it is."""


@dataclass(frozen=True)
class OrganReport:
    """An organ over the scans of a pair."""

    name: str
    dice: float | None
    """Mean over the scans that it was found in by either, 0..1; None where there is none."""
    scans: int
    """That the mean is over."""
    left_out: int
    """Scans in which neither found it."""
    worst: WorstScan | None


@dataclass(frozen=True)
class PairReport:
    """A shadow beside the model whose answers it was compared with."""

    champion: Compared
    shadow: Compared
    scans: int
    finished_seconds: float
    """When the latest was compared, seconds since 1970."""
    organs: tuple[OrganReport, ...]

    @property
    def agreement(self) -> ShadowAgreement:
        """The same in short, for the registry."""
        dice = {organ.name: organ.dice for organ in self.organs}
        return ShadowAgreement(self.champion.name, self.champion.version, self.scans, dice)


@dataclass(frozen=True)
class Standing:
    """How many comparisons are in which state."""

    waiting: int
    given_up: int
    same: Compared | None
    """The shadow, where it was found to be the very model that answers when last looked at."""


class ShadowReport:
    """Looks at the rows of all processes. Safe to use from any thread. All raise SQLAlchemyError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self) -> Standing:
        """What waits, what was given up, and whether there is anything to compare at all."""
        latest = select(shadows).where(shadows.c.state.in_(("done", "same"))).order_by(shadows.c.finished.desc())
        with self._database.reading() as connection:
            counted = select(shadows.c.state, func.count().label("number")).group_by(shadows.c.state)
            counts = {row.state: row.number for row in connection.execute(counted)}
            row = connection.execute(latest.limit(1)).one_or_none()
        same = _shadow(row) if row is not None and row.state == "same" else None
        return Standing(counts.get("wanted", 0) + counts.get("running", 0), counts.get("given up", 0), same)

    def latest_seconds(self) -> float | None:
        """When the latest comparison was finished, seconds since 1970; None if there is none."""
        with self._database.reading() as connection:
            latest = connection.scalar(select(func.max(shadows.c.finished)).where(shadows.c.state == "done"))
        return None if latest is None else float(latest)

    def pairs(self, *, most: int = MOST_PAIRS) -> list[PairReport]:
        """The pairs that were compared latest, the latest first."""
        pair = (shadows.c.champion_key, shadows.c.shadow_key)
        latest = func.max(shadows.c.finished)
        query = select(*pair).where(shadows.c.state == "done").group_by(*pair).order_by(latest.desc()).limit(most)
        with self._database.reading() as connection:
            found = connection.execute(query).all()
        return [self._pair(champion_key, shadow_key) for champion_key, shadow_key in found]

    def _pair(self, champion_key: str, shadow_key: str) -> PairReport:
        of_pair = and_(shadows.c.champion_key == champion_key, shadows.c.shadow_key == shadow_key)
        query = select(shadows, scans.c.key_owner).outerjoin(scans, scans.c.id == shadows.c.scan_id)
        query = query.where(shadows.c.state == "done", of_pair).order_by(shadows.c.finished.desc()).limit(MOST_SCANS)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        dice = [OrganAgreement.from_dict(unsealed(row.counts, of=f"comparison {row.id}")).dice for row in rows]
        newest = rows[0]
        return PairReport(
            champion=Compared(newest.champion_key, newest.champion_name, newest.champion_version),
            shadow=_shadow(newest),
            scans=len(rows),
            finished_seconds=newest.finished,
            organs=tuple(_organ(name, rows, dice) for name in dice[0]),
        )


def _shadow(row: Row[Any]) -> Compared:
    return Compared(row.shadow_key, row.shadow_name, row.shadow_version)


def _organ(name: str, rows: Sequence[Row[Any]], dice: Sequence[Mapping[str, float | None]]) -> OrganReport:
    scored = [(value, row) for row, each in zip(rows, dice, strict=True) if (value := each[name]) is not None]
    if not scored:
        return OrganReport(name, None, 0, len(rows), None)
    worst, row = min(scored, key=lambda one: one[0])
    mean = sum(value for value, _ in scored) / len(scored)
    return OrganReport(name, mean, len(scored), len(rows) - len(scored), WorstScan(worst, row.scan_id, row.key_owner))
