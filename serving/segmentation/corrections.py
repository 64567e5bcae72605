"""Corrections: the versions of scans' segmentations, as rows and in the store.

A row is there before its files, and gets its number when all of them are stored: whatever is killed in between, what
has no number is shown to nobody, and is removed. Numbers are given once, so that what was learnt from a correction can
always be named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, exists, func, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.sql import ColumnElement

from serving.observability import logs
from serving.queue.jobs import UNFINISHED, ScanNotFound, WrongState
from serving.queue.state import each_whole, whole
from serving.segmentation.correction import Correction, Findings, SentLabels
from serving.storage import Store
from serving.storage.database import Database
from serving.storage.sealed import sealed, unsealed
from serving.storage.tables import corrections, scans

_ARRIVAL_SECONDS = 3600
"""One whose files are not in the store after this long was being stored by a process that died."""
_TRIES = 5


class VersionNotFound(LookupError):
    """A scan's segmentation has no version of that number."""

    def __init__(self, scan_id: str, number: int) -> None:
        super().__init__(f"scan {scan_id} has no version {number}; /v1/scans/{scan_id}/segmentations lists them")


class Corrections:
    """Versions in and out; who may see their scan is asked elsewhere. Safe to use from threads and processes."""

    def __init__(self, database: Database, store: Store, *, owner: str) -> None:
        """`owner` names this process."""
        self._database = database
        self._store = store
        self._owner = owner

    def add(
        self,
        folder: Path,
        correction_id: str,
        scan_id: str,
        *,
        author: str | None,
        sent: SentLabels,
        findings: Findings,
        checksums: Mapping[str, str],
        notes: tuple[str, ...] = (),
    ) -> Correction:
        """Stores a correction whose files are in `folder`, durably, as the next version.

        Where the same author has sent the same bytes meanwhile, gives that one. Raises ScanNotFound where the scan is
        gone, WrongState where it is being made again; then nothing of the correction stays.
        """
        content = {"sent": vars(sent), "findings": findings.to_dict(), "notes": list(notes)}
        row = {
            "id": correction_id,
            "scan_id": scan_id,
            "state": "arriving",
            "created": self._database.now,
            "owner": self._owner,
            "author": author,
            "sha256": sent.sha256,
            "content": sealed(content),
            "checksums": sealed(dict(checksums)),
        }
        with self._database.writing() as connection:
            connection.execute(insert(corrections).values(row))
        try:
            self._store.add_correction(folder, scan_id, correction_id)
            known = self._number(correction_id, scan_id, author=author, sent=sent)
        except BaseException as error:
            with contextlib.suppress(SQLAlchemyError, OSError):  # then it is swept away
                self._discard(correction_id, scan_id)
            if isinstance(error, FileNotFoundError):
                raise ScanNotFound(scan_id) from None
            raise
        if known is not None:
            self._discard(correction_id, scan_id)
            return known
        return self._of_id(correction_id)

    def same(self, scan_id: str, *, author: str | None, sent: SentLabels) -> Correction | None:
        """The version that the same author has made of the same bytes, read in the same way; None if there is none."""
        with self._database.reading() as connection:
            return self._same(connection, scan_id, author=author, sent=sent)

    def of_scan(self, scan_id: str) -> list[Correction]:
        """All versions but the model's answer, upwards. One whose row is damaged is left out, and logged."""
        with self._database.reading() as connection:
            rows = connection.execute(_stored(scan_id).order_by(corrections.c.number))
            return list(each_whole(rows, _correction))

    def each(self, scan_id: str) -> Iterator[Correction]:
        """The same, for who has to know of damage. Raises NoteDamaged for a row that is."""
        with self._database.reading() as connection:
            rows = connection.execute(_stored(scan_id).order_by(corrections.c.number)).all()
        return map(_correction, rows)

    def get(self, scan_id: str, number: int) -> Correction:
        """The version of that number, from 1. Raises VersionNotFound."""
        with self._database.reading() as connection:
            row = connection.execute(_stored(scan_id).where(corrections.c.number == number)).one_or_none()
        if row is None:
            raise VersionNotFound(scan_id, number)
        return _correction(row)

    def latest(self, scan_id: str) -> Correction | None:
        """The version of the highest number; None where there is the model's answer alone."""
        with self._database.reading() as connection:
            row = connection.execute(_stored(scan_id).order_by(corrections.c.number.desc()).limit(1)).one_or_none()
        return None if row is None else _correction(row)

    def remove(self, correction: Correction) -> None:
        """Removes a version, and all of its files; its number is not given again."""
        with self._database.writing() as connection:
            connection.execute(_marked(corrections.c.id == correction.id, "deleted"))
        self._clear(correction.id, correction.scan_id)
        logs.event("correction_removed", scan=correction.scan_id, version=correction.number)

    def give_up(self, *, starting: bool = False, alone: bool = False) -> None:
        """Marks what was cut off while it was stored, to be swept away.

        `starting` says that this process takes nothing in yet, so that what arrives in its name is an earlier one's;
        `alone` that no other process does either.
        """
        given_up: list[ColumnElement[bool]] = [corrections.c.created < self._database.now - _ARRIVAL_SECONDS]
        if starting:
            given_up.append(true() if alone else corrections.c.owner == self._owner)
        with self._database.writing() as connection:
            connection.execute(_marked(and_(corrections.c.state == "arriving", or_(*given_up)), "deleted"))

    def sweep(self) -> None:
        """Removes what is marked, be it that its removal was cut off or its arrival."""
        self.give_up()
        query = select(corrections.c.id, corrections.c.scan_id).where(corrections.c.state == "deleted")
        with self._database.reading() as connection:
            left = connection.execute(query).all()
        for row in left:
            self._clear(row.id, row.scan_id)

    def _number(self, correction_id: str, scan_id: str, *, author: str | None, sent: SentLabels) -> Correction | None:
        """Shows a correction whose files are stored; gives another where that is the same. Raises ScanNotFound."""
        for left in reversed(range(_TRIES)):
            try:
                with self._database.writing() as connection:
                    self._database.in_turn(connection)  # else the same file, sent twice at once, would be two versions
                    known = self._same(connection, scan_id, author=author, sent=sent)
                    if known is None:
                        self._show(connection, correction_id, scan_id)
                    return known
            except IntegrityError:  # another process has given the number at this moment
                if not left:
                    raise
        return None

    def _show(self, connection: Connection, correction_id: str, scan_id: str) -> None:
        of_scan = select(func.coalesce(func.max(corrections.c.number), 0)).where(corrections.c.scan_id == scan_id)
        number = int(connection.scalar(of_scan) or 0) + 1
        state = connection.scalar(select(scans.c.state).where(scans.c.id == scan_id))
        if state in UNFINISHED:
            raise WrongState(f"scan {scan_id} is being made again; send its correction when it has succeeded")
        there = exists(select(scans.c.id).where(scans.c.id == scan_id, scans.c.state == "succeeded"))
        shown = connection.execute(
            update(corrections)
            .where(corrections.c.id == correction_id, corrections.c.state == "arriving", there)
            .values(state="stored", number=number, owner=None)
        )
        if not shown.rowcount:
            raise ScanNotFound(scan_id)

    def _same(self, connection: Connection, scan_id: str, *, author: str | None, sent: SentLabels) -> Correction | None:
        by_author = corrections.c.author.is_(None) if author is None else corrections.c.author == author
        query = _stored(scan_id).where(corrections.c.sha256 == sent.sha256, by_author).order_by(corrections.c.number)
        found = each_whole(connection.execute(query), _correction)
        return next((one for one in found if one.sent.dataset == sent.dataset), None)

    def _of_id(self, correction_id: str) -> Correction:
        with self._database.reading() as connection:
            row = connection.execute(select(corrections).where(corrections.c.id == correction_id)).one()
        return _correction(row)

    def _discard(self, correction_id: str, scan_id: str) -> None:
        """Removes what was not shown; nothing if it was, whatever the database could not say of that."""
        arriving = and_(corrections.c.id == correction_id, corrections.c.state == "arriving")
        with self._database.writing() as connection:
            given_up = connection.execute(_marked(arriving, "deleted")).rowcount
        if given_up:
            self._clear(correction_id, scan_id)

    def _clear(self, correction_id: str, scan_id: str) -> None:
        """Files gone, then the row: but for its number, as long as its scan is there."""
        self._store.remove_correction(scan_id, correction_id)
        there = exists(select(scans.c.id).where(scans.c.id == scan_id))
        with self._database.writing() as connection:
            mine = corrections.c.id == correction_id
            connection.execute(delete(corrections).where(mine, or_(corrections.c.number.is_(None), ~there)))
            connection.execute(_marked(mine, "gone"))


def _stored(scan_id: str) -> Select[Any]:
    return select(corrections).where(corrections.c.scan_id == scan_id, corrections.c.state == "stored")


def _marked(which: ColumnElement[bool], state: str) -> Any:
    return update(corrections).where(which).values(state=state, content=None, checksums=None)


def _correction(row: Row[Any]) -> Correction:
    """From a row of the table of corrections. Raises NoteDamaged."""
    with whole(row, of=f"correction {row.number} of scan {row.scan_id}") as of:
        content = unsealed(row.content, of=of)
        return Correction(
            id=row.id,
            scan_id=row.scan_id,
            number=row.number,
            created_seconds=row.created,
            author=row.author,
            sent=SentLabels(**content["sent"]),
            findings=Findings.from_dict(content["findings"]),
            checksums=dict(unsealed(row.checksums, of=of)),
            notes=tuple(content["notes"]),
        )
