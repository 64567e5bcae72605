"""ShadowQueue: comparisons that are wanted, as rows that processes lease, fenced by epoch as scans are.

A row is made in the transaction in which its scan succeeds. A process that dies loses its comparison to the next one,
which goes on at the slab after the last that was counted; one that never gets further is given up.
"""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, exists, insert, or_, select, update

from serving.models.served import ModelIdentity
from serving.observability import logs
from serving.queue.leases import LeaseLost
from serving.queue.scan import Scan
from serving.shadow.agreement import OrganAgreement
from serving.shadow.sampling import is_sampled
from serving.storage.database import Database, scans, shadows

MOST_STARTS = 3
"""A comparison that was begun so often without one more slab counted is given up."""
_AGAIN_SECONDS = 60.0

_SUCCEEDED = and_(scans.c.id == shadows.c.scan_id, scans.c.state == "succeeded")


@dataclass(frozen=True)
class ShadowLease:
    """A comparison that this process may work on, from where it stopped."""

    id: str
    scan: Scan
    epoch: int
    starts: int
    slabs_done: int
    shadow_key: str | None
    """Key of the model that the counted slabs were compared with."""
    agreement: OrganAgreement | None
    """Of the slabs that are done."""


class ShadowQueue:
    """Comparisons as one process takes them. `report` is how they are looked at."""

    def __init__(self, database: Database, *, owner: str, seconds: float, share: float) -> None:
        """A process that has not renewed its lease for `seconds` loses it; `share` of all scans are compared."""
        self._database = database
        self._owner = owner
        self._share = share
        self.seconds = seconds

    def want(self, connection: Connection, scan: Scan) -> None:
        """Wants a scan compared if it is one of the sample, within the transaction in which it succeeds."""
        if is_sampled(scan.id, self._share):
            row = {"id": uuid.uuid4().hex, "scan_id": scan.id, "state": "wanted", "wanted": self._database.now}
            connection.execute(insert(shadows).values(row))

    def take_back(self, *, alone: bool) -> None:
        """Frees at once what an earlier process of this name left behind, or `alone`, any process."""
        left = shadows.c.state == "running"
        mine = left if alone else and_(left, shadows.c.owner == self._owner)
        with self._database.writing() as connection:
            connection.execute(update(shadows).where(mine).values(lease_until=0.0))

    def ready(self) -> bool:
        """True if a comparison waits and no scan does, in the whole queue, that somebody could take up."""
        now = self._database.now
        queued = and_(scans.c.state == "queued", scans.c.not_before <= now)
        left_behind = and_(scans.c.state == "running", scans.c.lease_until < now)
        with self._database.reading() as connection:
            if connection.execute(self._free().with_only_columns(shadows.c.id)).first() is None:
                return False
            return connection.execute(select(scans.c.id).where(or_(queued, left_behind)).limit(1)).first() is None

    def take(self) -> ShadowLease | None:
        """The comparison that waits for longest, of a scan that is still there; None if there is none."""
        with self._database.writing() as connection:
            row = connection.execute(self._free().with_for_update(of=shadows, skip_locked=True)).one_or_none()
            if row is None:
                return None
            hopeless = row.starts >= MOST_STARTS
            error = f"the process ended {row.starts} times while it was at slab {row.slabs_done}; its log says why"
            values = self._given_up(error) if hopeless else {"state": "running", "lease_until": self._until}
            connection.execute(
                update(shadows)
                .where(shadows.c.id == row.id)
                .values(epoch=row.epoch + 1, starts=row.starts + 1, owner=self._owner, **values)
            )
        if hopeless:
            logs.event("shadow_given_up", level=logging.ERROR, scan=row.scan_id, error=error)
            return None
        return _lease(row)

    def renew(self, lease: ShadowLease) -> None:
        """Raises LeaseLost if another has taken it up, or the scan is gone."""
        self._write(lease, lease_until=self._until)

    def commit(self, lease: ShadowLease, *, shadow: ModelIdentity, slabs_done: int, agreement: OrganAgreement) -> None:
        """Writes down that slabs [0, slabs_done) are counted. Raises LeaseLost."""
        self._write(
            lease,
            slabs_done=slabs_done,
            shadow_key=shadow.key,
            counts=json.dumps(agreement.to_dict()),
            starts=0,
            lease_until=self._until,
        )

    def finish(self, lease: ShadowLease, *, shadow: ModelIdentity, agreement: OrganAgreement) -> None:
        """Records a comparison of all slabs, unless the scan was removed meanwhile. Raises LeaseLost."""
        counts = json.dumps(agreement.to_dict())
        self._write(lease, counts=counts, error=None, **self._ended("done"), **_models(lease.scan.model, shadow))

    def finish_as_same(self, lease: ShadowLease, *, shadow: ModelIdentity) -> None:
        """Records that there was nothing to compare: the scan was answered by the shadow's model. Raises LeaseLost."""
        self._write(lease, error=None, **self._ended("same"), **_models(lease.scan.model, shadow))

    def park(self, lease: ShadowLease) -> None:
        """Gives a comparison back unfinished, for the next who is free. Raises LeaseLost."""
        self._write(lease, state="wanted", lease_until=None, starts=0)

    def give_up(self, lease: ShadowLease, error: str) -> None:
        """Ends a comparison that cannot be made. Raises LeaseLost."""
        self._write(lease, **self._given_up(error))

    def postpone(self, lease: ShadowLease, error: str) -> float | None:
        """Has it tried again after an error that may pass, later each time; gives the seconds until then.

        None where it was tried often enough: it is given up. Raises LeaseLost.
        """
        if lease.starts >= MOST_STARTS:
            self.give_up(lease, f"{error} (tried {lease.starts} times)")
            return None
        seconds = _AGAIN_SECONDS * 2.0 ** (lease.starts - 1)
        not_before = self._database.now + seconds
        self._write(lease, state="wanted", not_before=not_before, lease_until=None, error=error)
        return seconds

    @property
    def _until(self) -> ColumnElement[float]:
        return self._database.now + self.seconds

    def _ended(self, state: str) -> dict[str, Any]:
        return {"state": state, "finished": self._database.now, "lease_until": None}

    def _given_up(self, error: str) -> dict[str, Any]:
        return {"error": error, **self._ended("given up")}

    def _free(self) -> Select[Any]:
        now = self._database.now
        waits = and_(shadows.c.state == "wanted", shadows.c.not_before <= now)
        left_behind = and_(shadows.c.state == "running", shadows.c.lease_until < now)
        free = select(shadows, scans.c.content).join(scans, _SUCCEEDED).where(or_(waits, left_behind))
        return free.order_by(shadows.c.wanted).limit(1)

    def _write(self, lease: ShadowLease, **values: Any) -> None:
        mine = (shadows.c.id == lease.id, shadows.c.epoch == lease.epoch, shadows.c.state == "running")
        with self._database.writing() as connection:
            still_there = exists(select(scans.c.id).where(_SUCCEEDED))
            changed = connection.execute(update(shadows).where(*mine, still_there).values(**values)).rowcount
        if not changed:
            raise LeaseLost(f"the scan {lease.scan.id} was removed, or its comparison taken up by another")


def sweep(database: Database) -> None:
    """Lets go of scans that are gone: what was counted of them stays, without their id."""
    gone = and_(shadows.c.scan_id.is_not(None), ~exists(select(scans.c.id).where(scans.c.id == shadows.c.scan_id)))
    with database.reading() as connection:
        ids = list(connection.scalars(select(shadows.c.id).where(gone)))
    if not ids:
        return
    with database.writing() as connection:
        connection.execute(delete(shadows).where(shadows.c.id.in_(ids), shadows.c.state != "done"))
        connection.execute(update(shadows).where(shadows.c.id.in_(ids)).values(scan_id=None, error=None))


def _models(champion: ModelIdentity, shadow: ModelIdentity) -> dict[str, Any]:
    return {
        "champion_key": champion.key,
        "champion_name": champion.name,
        "champion_version": champion.version,
        "shadow_key": shadow.key,
        "shadow_name": shadow.name,
        "shadow_version": shadow.version,
    }


def _lease(row: Row[Any]) -> ShadowLease:
    """The lease of a row as it was found, before its epoch was raised."""
    return ShadowLease(
        id=row.id,
        scan=Scan.from_dict(json.loads(row.content)),
        epoch=row.epoch + 1,
        starts=row.starts + 1,
        slabs_done=row.slabs_done,
        shadow_key=row.shadow_key,
        agreement=OrganAgreement.from_dict(json.loads(row.counts)) if row.counts else None,
    )
