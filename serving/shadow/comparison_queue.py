"""ShadowQueue: comparisons that are wanted, as rows of a fenced table that processes lease.

A row is made in the transaction in which its scan succeeds. A process that dies loses its comparison to the next one,
which goes on at the slab after the last that was counted; one that never gets further is given up.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, exists, insert, select, update

from serving.models.served import ModelIdentity
from serving.observability import logs
from serving.queue.leases import SCANS
from serving.queue.scan import Scan
from serving.shadow.agreement import OrganAgreement
from serving.shadow.sampling import is_sampled
from serving.storage.database import Database
from serving.storage.fenced_table import Fence, FencedRows, FencedTable
from serving.storage.sealed import NoteDamaged, sealed, unsealed
from serving.storage.tables import scans, shadows

MOST_STARTS = 3
"""A comparison that was begun so often without one more slab counted is given up."""
_AGAIN_SECONDS = 60.0

_SUCCEEDED = and_(scans.c.id == shadows.c.scan_id, scans.c.state == "succeeded")
_SHADOWS = FencedTable(
    shadows,
    waiting="wanted",
    failed="given up",
    most_starts=MOST_STARTS,
    process="process",
    valid=exists(select(scans.c.id).where(_SUCCEEDED)),
)


@dataclass(frozen=True)
class ShadowLease:
    """A comparison that this process may work on, from where it stopped."""

    id: str
    scan: Scan
    checksums: Mapping[str, str]
    """Of the files of its result, by name."""
    epoch: int
    starts: int
    slabs_done: int
    shadow_key: str | None
    """Key of the model that the counted slabs were compared with."""
    agreement: OrganAgreement | None
    """Of the slabs that are done."""

    @property
    def fence(self) -> Fence:
        """What its row is written with."""
        return Fence(self.id, self.epoch, name=f"the comparison of scan {self.scan.id}")


class ShadowQueue:
    """Comparisons as one process takes them. `report` is how they are looked at."""

    def __init__(self, database: Database, *, owner: str, seconds: float, share: float) -> None:
        """A process that has not renewed its lease for `seconds` loses it; `share` of all scans are compared."""
        self._database = database
        self._rows = FencedRows(database, _SHADOWS, owner=owner, seconds=seconds)
        self._share = share
        self.seconds = seconds

    def want(self, connection: Connection, scan: Scan) -> None:
        """Wants a scan compared if it is one of the sample, within the transaction in which it succeeds."""
        if is_sampled(scan.id, self._share):
            row = {"id": uuid.uuid4().hex, "scan_id": scan.id, "state": "wanted", "wanted": self._database.now}
            connection.execute(insert(shadows).values(row))

    def take_back(self, *, alone: bool) -> None:
        """Frees at once what an earlier process of this name left behind, or `alone`, any process."""
        self._rows.take_back(alone=alone)

    def ready(self) -> bool:
        """True if a comparison waits and no scan does, in the whole queue, that somebody could take up."""
        scan = select(scans.c.id).where(SCANS.free(self._database.now)).limit(1)
        with self._database.reading() as connection:
            if connection.execute(self._oldest().with_only_columns(shadows.c.id)).first() is None:
                return False
            return connection.execute(scan).first() is None

    def take(self) -> ShadowLease | None:
        """The comparison that waits for longest, of a scan that is still there; None if there is none."""
        taken = self._rows.take(self._oldest())
        if taken is None:
            return None
        row, error = taken
        if error is not None:
            logs.event("shadow_given_up", level=logging.ERROR, scan=row.scan_id, error=error)
            return None
        try:
            return _lease(row)
        except NoteDamaged as damaged:
            self._rows.fail(Fence(row.id, row.epoch + 1, name=f"the comparison of scan {row.scan_id}"), str(damaged))
            logs.event("shadow_given_up", level=logging.ERROR, scan=row.scan_id, error=damaged)
            return None

    def renew(self, lease: ShadowLease) -> None:
        """Raises LeaseLost if another has taken it up, or the scan is gone."""
        self._rows.renew(lease.fence)

    def commit(self, lease: ShadowLease, *, shadow: ModelIdentity, slabs_done: int, agreement: OrganAgreement) -> None:
        """Writes down that slabs [0, slabs_done) are counted. Raises LeaseLost."""
        self._rows.write(
            lease.fence,
            slabs_done=slabs_done,
            shadow_key=shadow.key,
            counts=sealed(agreement.to_dict()),
            starts=0,
            lease_until=self._rows.until,
        )

    def finish(self, lease: ShadowLease, *, shadow: ModelIdentity, agreement: OrganAgreement) -> None:
        """Records a comparison of all slabs, unless the scan was removed meanwhile. Raises LeaseLost."""
        counts = sealed(agreement.to_dict())
        models = _models(lease.scan.model, shadow)
        self._rows.write(lease.fence, counts=counts, **self._rows.ended("done"), **models)

    def finish_as_same(self, lease: ShadowLease, *, shadow: ModelIdentity) -> None:
        """Records that there was nothing to compare: the scan was answered by the shadow's model. Raises LeaseLost."""
        self._rows.write(lease.fence, **self._rows.ended("same"), **_models(lease.scan.model, shadow))

    def park(self, lease: ShadowLease) -> None:
        """Gives a comparison back unfinished, for the next who is free. Raises LeaseLost."""
        self._rows.park(lease.fence)

    def give_up(self, lease: ShadowLease, error: str) -> None:
        """Ends a comparison that cannot be made. Raises LeaseLost."""
        self._rows.fail(lease.fence, error)

    def postpone(self, lease: ShadowLease, error: str) -> float | None:
        """Has it tried again after an error that may pass, later each time; gives the seconds until then.

        None where it was tried often enough: it is given up. Raises LeaseLost.
        """
        if lease.starts >= MOST_STARTS:
            self.give_up(lease, f"{error} (tried {lease.starts} times)")
            return None
        seconds = _AGAIN_SECONDS * 2.0 ** (lease.starts - 1)
        self._rows.postpone(lease.fence, error, seconds=seconds)
        return seconds

    def _oldest(self) -> Select[Any]:
        free = select(shadows, scans.c.content, scans.c.checksums).join(scans, _SUCCEEDED).where(self._rows.free)
        return free.order_by(shadows.c.wanted).limit(1)


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
    of = f"the comparison of scan {row.scan_id}"
    return ShadowLease(
        id=row.id,
        scan=Scan.from_dict(unsealed(row.content, of=of)),
        checksums=unsealed(row.checksums, of=of) if row.checksums else {},
        epoch=row.epoch + 1,
        starts=row.starts + 1,
        slabs_done=row.slabs_done,
        shadow_key=row.shadow_key,
        agreement=OrganAgreement.from_dict(unsealed(row.counts, of=of)) if row.counts else None,
    )
