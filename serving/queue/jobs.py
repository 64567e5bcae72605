"""Jobs: the queue as those see it who put scans in and ask after them. `leases` is how workers see it.

A scan's row is there before its files and goes after them: whatever is killed in between, no file is without a row.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, get_args

from sqlalchemy import Select, and_, delete, func, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ColumnElement

from scans.geometry import Spacing
from serving.auth.identity import ANYONE, Identity
from serving.queue.scan import Scan
from serving.queue.state import (
    ENDED,
    UNFINISHED,
    Job,
    Priority,
    State,
    each_whole,
    scan_and_job,
    scan_of,
    warnings_text,
)
from serving.storage.database import Database
from serving.storage.sealed import sealed
from serving.storage.tables import corrections, keys, scans

__all__ = ["ENDED", "UNFINISHED", "Job", "Jobs", "Priority", "ScanNotFound", "State", "WrongState"]

_SHOWN = get_args(State)
_PAGE = 500
_ARRIVAL_SECONDS = 3600
"""A scan whose files are not in the store after this long was being accepted by a process that died."""


class ScanNotFound(LookupError):
    """No scan has that id."""

    def __init__(self, scan_id: str) -> None:
        super().__init__(f"no scan {scan_id!r}; it may have been deleted")


class WrongState(ValueError):
    """What was asked for cannot be done with a scan in its present state."""


class Jobs:
    """Scans in and out of the queue. Safe to use from several threads and processes."""

    def __init__(self, database: Database, *, owner: str, on_change: Callable[[], None] = lambda: None) -> None:
        """`owner` names this process. `on_change` is called when its worker may have something to begin or to stop."""
        self._database = database
        self._owner = owner
        self._on_change = on_change
        self._identity = ANYONE

    def seen_by(self, identity: Identity) -> Jobs:
        """The same queue, where scans of other owners do not exist, and new ones and their keys are this identity's."""
        theirs = copy.copy(self)
        theirs._identity = identity
        return theirs

    def reserve(self, scan: Scan, *, priority: Priority, checksums: Mapping[str, str], key: str | None = None) -> bool:
        """Makes the row of a scan whose files are about to be stored, found again by its Idempotency-Key.

        `checksums` are those of the files of its result, which has no voxel yet.
        False if there is a scan of that id or key already.
        """
        row = {
            "id": scan.id,
            "created": scan.created_seconds,
            "content": sealed(scan.to_dict()),
            "sha256": scan.upload.sha256,
            "model_key": scan.model.key,
            "priority": int(priority),
            "state": "arriving",
            "owner": self._owner,
            "key_owner": self._identity.owner,
            "bytes": scan.upload.bytes,
            "voxels": math.prod(scan.shape),
            "slices": scan.shape[0],
            "slabs": len(scan.boxes),
            "checksums": sealed(dict(checksums)),
            "warnings": warnings_text(scan.warnings),
        }
        try:
            with self._database.writing() as connection:
                connection.execute(insert(scans).values(row))
                if key is not None:
                    connection.execute(insert(keys).values(key=self._identity.own_key(key), scan_id=scan.id))
        except IntegrityError:
            return False
        return True

    def enqueue(self, scan_id: str) -> None:
        """Queues a reserved scan, durably, now that its files are stored. Raises ScanNotFound if it was given up."""
        with self._database.writing() as connection:
            changed = connection.execute(
                update(scans)
                .where(scans.c.id == scan_id, scans.c.state == "arriving")
                .values(state="queued", owner=None, queued=self._database.now)
            )
        if not changed.rowcount:
            raise ScanNotFound(scan_id)
        self._on_change()

    def abandon(self, scan_id: str) -> None:
        """Gives a reservation back."""
        with self._database.writing() as connection:
            connection.execute(delete(keys).where(keys.c.scan_id == scan_id))
            connection.execute(delete(scans).where(scans.c.id == scan_id, scans.c.state == "arriving"))

    def of_key(self, key: str) -> Scan | None:
        """The scan that an owner's Idempotency-Key stands for, be it still arriving; None if there is none."""
        query: Select[Any] = select(scans.c.id, scans.c.content).join(keys, keys.c.scan_id == scans.c.id)
        query = query.where(keys.c.key == self._identity.own_key(key), self._same_owner, scans.c.state != "deleted")
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else scan_of(row)

    def add_key(self, key: str, scan_id: str) -> None:
        """Lets a key stand for a scan that is there already; nothing if it stands for one."""
        with contextlib.suppress(IntegrityError), self._database.writing() as connection:
            connection.execute(insert(keys).values(key=self._identity.own_key(key), scan_id=scan_id))

    def find(self, *, sha256: str, spacing: Spacing | None, model_key: str, dataset: str | None = None) -> Scan | None:
        """The owner's oldest scan of the same bytes, read in the same way, with the same model, that has not failed."""
        query: Select[Any] = select(scans.c.id, scans.c.content).where(
            scans.c.sha256 == sha256,
            scans.c.model_key == model_key,
            scans.c.state.in_(("queued", "running", "succeeded")),
            self._same_owner,
        )
        with self._database.reading() as connection:
            found = list(each_whole(connection.execute(query.order_by(scans.c.created)), scan_of))
        asked = (spacing, dataset)
        return next((scan for scan in found if (scan.upload.spacing, scan.upload.dataset) == asked), None)

    def scan(self, scan_id: str) -> Scan:
        """The scan of that id. Raises ScanNotFound."""
        return self.get(scan_id)[0]

    def get(self, scan_id: str) -> tuple[Scan, Job]:
        """A scan and how far it is. Raises ScanNotFound."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(scans).where(scans.c.id == scan_id, scans.c.state.in_(_SHOWN), self._seen)
            ).one_or_none()
        if row is None:
            raise ScanNotFound(scan_id)
        return scan_and_job(row)

    def owner_of(self, scan_id: str) -> str | None:
        """The owner of a scan's key; None where it was posted without one, or is gone."""
        with self._database.reading() as connection:
            owner: str | None = connection.scalar(select(scans.c.key_owner).where(scans.c.id == scan_id))
        return owner

    def page(
        self,
        *,
        limit: int,
        before: float | None = None,
        states: Collection[State] = _SHOWN,
        flagged: bool | None = None,
        key: str | None = None,
    ) -> list[tuple[Scan, Job]]:
        """At most `limit` scans, the newest first, accepted before `before` (seconds since 1970).

        `flagged` True: only those with warnings; False: only those without. `key`: only the one that this
        Idempotency-Key of the owner's stands for. One whose row is damaged is left out.
        """
        query = select(scans).where(scans.c.state.in_(states), self._seen).order_by(scans.c.created.desc()).limit(limit)
        if before is not None:
            query = query.where(scans.c.created < before)
        if flagged is not None:
            query = query.where(scans.c.warnings.is_not(None) if flagged else scans.c.warnings.is_(None))
        if key is not None:
            stands_for = select(keys.c.scan_id).where(keys.c.key == self._identity.own_key(key))
            query = query.where(scans.c.id.in_(stands_for), self._same_owner)
        with self._database.reading() as connection:
            return list(each_whole(connection.execute(query), scan_and_job))

    def each(self) -> Iterator[str]:
        """Ids of all scans, a page at a time; those that come or go meanwhile may be among them or not."""
        query = select(scans.c.id).where(scans.c.state.in_(_SHOWN), self._seen).order_by(scans.c.id).limit(_PAGE)
        last = ""
        while True:
            with self._database.reading() as connection:
                page = list(connection.scalars(query.where(scans.c.id > last)))
            if not page:
                return
            yield from page
            last = page[-1]

    def cancel(self, scan_id: str) -> None:
        """Ends a scan that is queued or running; its files stay, so that `retry` can begin it again.

        Raises ScanNotFound, and WrongState if it has ended already.
        """
        self._move(scan_id, UNFINISHED, to="cancelled", done="cancelled", finished=self._database.now, owner=None)

    def retry(self, scan_id: str) -> None:
        """Queues a failed or cancelled scan again, at the slab where it stopped. Raises ScanNotFound, WrongState."""
        self._move(scan_id, ("failed", "cancelled"), to="queued", done="retried", **self._again(error=None))

    def remake(self, scan_id: str, why: str) -> bool:
        """Queues a scan again whose result is damaged, to be made anew from its first slab; False if it has none."""
        anew = {"slabs_done": 0, "statistics": None, "judgement": None, "checksums": None}
        try:
            self._move(scan_id, ("succeeded",), to="queued", done="made again", **self._again(error=why), **anew)
        except (ScanNotFound, WrongState):
            return False
        return True

    def remove(self, scan_id: str) -> None:
        """Cancels a scan and hides it; the files go next, then `forget`. Raises ScanNotFound."""
        hide = partial(self._move, scan_id, _SHOWN, to="deleted", done="deleted", owner=None)
        self._database.even_if_full(hide)

    def forget(self, scan_ids: Iterable[str]) -> None:
        """Drops the rows of removed scans, whose files are gone."""
        gone = list(scan_ids)
        with self._database.writing() as connection:
            connection.execute(delete(keys).where(keys.c.scan_id.in_(gone)))
            stored = corrections.c.state != "arriving"  # of what arrives at this moment, files may come yet
            connection.execute(delete(corrections).where(corrections.c.scan_id.in_(gone), stored))
            connection.execute(delete(scans).where(scans.c.id.in_(gone), scans.c.state == "deleted"))

    def leftovers(self, *, starting: bool = False, alone: bool = False) -> list[str]:
        """Scans whose files are to be deleted: removed ones, and ones whose acceptance was cut off, which this removes.

        `starting` says that this process accepts nothing yet, so that arrivals in its name are an earlier one's;
        `alone` that no other process accepts scans either.
        """
        given_up: list[ColumnElement[bool]] = [scans.c.created < self._database.now - _ARRIVAL_SECONDS]
        if starting:
            given_up.append(true() if alone else scans.c.owner == self._owner)
        cut_off = and_(scans.c.state == "arriving", or_(*given_up))
        with self._database.writing() as connection:
            connection.execute(update(scans).where(cut_off).values(state="deleted"))
            return list(connection.scalars(select(scans.c.id).where(scans.c.state == "deleted")))

    def older_than(self, seconds: float) -> list[str]:
        """Scans that ended so long ago; none that is said to have ended before it came, which a damaged row says."""
        long_ago = and_(scans.c.finished < self._database.now - seconds, scans.c.finished >= scans.c.created)
        query = select(scans.c.id).where(scans.c.state.in_(ENDED), long_ago)
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def unfinished_voxels(self) -> int:
        """Of the owner's scans that wait, are being worked on, or are arriving."""
        query = select(func.coalesce(func.sum(scans.c.voxels), 0)).where(
            scans.c.state.in_(("arriving", *UNFINISHED)), self._same_owner
        )
        with self._database.reading() as connection:
            return int(connection.scalar(query) or 0)

    def needed_models(self) -> set[str]:
        """Keys of the models that unfinished scans began with, or may be begun with again."""
        query = select(scans.c.model_key).distinct().where(scans.c.state.not_in(("succeeded", "deleted")))
        with self._database.reading() as connection:
            return set(connection.scalars(query))

    def _again(self, *, error: str | None) -> dict[str, Any]:
        """Of a scan that had ended, and waits now."""
        again = {"finished": None, "failures": 0, "starts": 0, "not_before": 0.0, "error": error}
        return {**again, "queued": self._database.now}

    def _move(self, scan_id: str, states: Collection[str], *, to: str, done: str, **values: Any) -> None:
        with self._database.writing() as connection:
            changed = connection.execute(
                update(scans)
                .where(scans.c.id == scan_id, scans.c.state.in_(states), self._seen)
                .values(state=to, epoch=scans.c.epoch + 1, lease_until=None, **values)
            )
            query = select(scans.c.state).where(scans.c.id == scan_id, self._seen)
            row = connection.execute(query).one_or_none()
        if row is None or (not changed.rowcount and row.state not in _SHOWN):
            raise ScanNotFound(scan_id)
        if not changed.rowcount:
            raise WrongState(f"scan {scan_id} is {row.state}: only {' or '.join(states)} scans can be {done}")
        self._on_change()

    @property
    def _seen(self) -> ColumnElement[bool]:
        return self._identity.seen(scans.c.key_owner)

    @property
    def _same_owner(self) -> ColumnElement[bool]:
        return scans.c.key_owner == self._identity.owner
