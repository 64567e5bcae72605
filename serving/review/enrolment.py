"""Enrolment: the slices that finished scans offer, as rows; chosen once, when the scan has ended, by any process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, and_, case, delete, distinct, exists, func, insert, select, update

from scans.formats import stem
from scans.formats.file_names import readable
from serving.observability import logs
from serving.queue.scan import Scan
from serving.queue.state import scan_and_job
from serving.review.offers import offers
from serving.storage.database import Database
from serving.storage.sealed import NoteDamaged
from serving.storage.tables import offered_scans, offered_slices, reviews, scans

_AT_ONCE = 50
"""Scans that are enrolled before somebody who waits for a slice is answered."""
_FLAT_FOLDER = "images"
"""Of volumes of no experiment, in a raw data set."""
_SAME = and_(offered_scans.c.scan_id == scans.c.id, offered_scans.c.finished == scans.c.finished)
_NEW = and_(scans.c.state == "succeeded", ~exists(select(offered_scans.c.scan_id).where(_SAME)))
"""True for a scan that has ended, and not offered its slices since."""


def volume_id(scan: Scan) -> str:
    """What the pipeline calls the scan's file, should it lie in `unlabelled/FOLDER` of a raw data set."""
    name, folder = readable(stem(Path(scan.upload.filename))), scan.upload.folder
    return name if folder in (None, _FLAT_FOLDER) else f"{folder}-{name}"


def enrol(database: Database, *, most: int = _AT_ONCE) -> int:
    """Has finished scans offer their slices that do not yet, the newest first, at most so many; gives how many did."""
    newest = select(scans.c.id).where(_NEW).order_by(scans.c.finished.desc()).limit(most)
    with database.reading() as connection:
        found = list(connection.scalars(newest))
    enrolled = 0
    for scan_id in found:
        with database.writing() as connection:
            database.in_turn(connection)
            row = connection.execute(select(scans).where(scans.c.id == scan_id, _NEW)).one_or_none()
            if row is not None:  # else another process was as quick, and claims may stand on what it wrote
                _enrol(connection, row)
                enrolled += 1
    return enrolled


def sweep(database: Database) -> None:
    """Drops what scans offered that are gone, and enrols those that nobody has asked for."""
    for table in (offered_slices, offered_scans):
        with database.writing() as connection:
            database.in_turn(connection)
            connection.execute(delete(table).where(~exists(select(scans.c.id).where(scans.c.id == table.c.scan_id))))
    enrol(database)


def count_looks(connection: Connection, scan_id: str, slice_index: int | None = None) -> None:
    """Writes at the slices of a scan, or at one, how many reviewers' verdicts on them stand."""
    of_slice = and_(
        reviews.c.scan_id == offered_slices.c.scan_id,
        reviews.c.slice_index == offered_slices.c.slice_index,
        reviews.c.axis == "z",
        reviews.c.ended.is_(None),
    )
    not_skipped = case((reviews.c.verdict != "skip", reviews.c.reviewer))
    looks, judged = (
        select(func.count(distinct(who))).where(of_slice).correlate(offered_slices).scalar_subquery()
        for who in (reviews.c.reviewer, not_skipped)
    )
    counted = update(offered_slices).where(offered_slices.c.scan_id == scan_id).values(looks=looks, judged=judged)
    if slice_index is not None:
        counted = counted.where(offered_slices.c.slice_index == slice_index)
    connection.execute(counted)


def _enrol(connection: Connection, row: Row[Any]) -> None:
    for table in (offered_slices, offered_scans):
        connection.execute(delete(table).where(table.c.scan_id == row.id))
    connection.execute(insert(offered_scans).values(scan_id=row.id, finished=row.finished))
    if rows := _offered(row):
        connection.execute(insert(offered_slices), rows)
        count_looks(connection, row.id)


def _offered(row: Row[Any]) -> list[dict[str, Any]]:
    """The rows of a scan's slices; none where its own row is damaged, which is logged once."""
    try:
        scan, job = scan_and_job(row)
    except NoteDamaged as damaged:
        logs.event("row_damaged", level=logging.ERROR, scan=row.id, error=damaged)
        return []
    folder = scan.upload.folder or ""
    found = offers(scan.shape[0], judgement=job.judgement, threshold=scan.good_threshold, organs=scan.organs)
    return [{"scan_id": scan.id, "folder": folder, **vars(offer)} for offer in found]
