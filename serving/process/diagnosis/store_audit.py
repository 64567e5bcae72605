"""Store audit: every stored file is read and compared with what was noted when it was written.

It reads all there is, so it takes as long as the disk does. A server may work on the same store meanwhile: what is
being written or removed at that moment is looked at again before it is called damaged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from serving.intake.arrived import damaged_uploads
from serving.models.cache import REFERENCES_DIR, ModelCache
from serving.observability.findings import Finding, Level
from serving.observability.reasons import first_line
from serving.process.diagnosis.stand_ins import of_queue, queue_made
from serving.queue.jobs import Job, Jobs, ScanNotFound
from serving.queue.scan import Scan
from serving.segmentation.corrections import Corrections
from serving.segmentation.dicom_results import read_source_headers
from serving.segmentation.source_headers import SOURCE_HEADERS
from serving.segmentation.stored_segmentation import damaged_files
from serving.segmentation.stored_voxels import damaged_voxels
from serving.settings import SettingsError, read_settings
from serving.storage import DataDamaged, FolderStore, Scratch, Store, StoreError, open_store
from serving.storage.contract import CORRECTIONS_DIR, IMAGE_DIR, RESULT_DIR
from serving.storage.database import Database, DatabaseError
from serving.storage.locations import database_url, scratch_dir
from serving.storage.sealed import NoteDamaged

Progress = Callable[[str], None]
"""Told what is looked at."""

_NOT_AS_WRITTEN = "it is not what was written, or is gone"
_RESTORE = "Restore the database from its backup."
_LOST = "Restore it from its backup; or RICEFISH_DATABASE_URL names another than the server's does."


def audit(*, repair: bool = False, progress: Progress = lambda what: None, **given: Any) -> Iterator[Finding]:
    """A finding for each damaged file, and one at the end with what was read; `given` are settings that options name.

    `repair` has made again what can be, by the server or worker that runs on the same store.
    """
    with ExitStack() as stack:
        try:
            settings = read_settings(needs_model=False, **given)
            if settings.store_dir is not None and not FolderStore(settings.store_dir).begun:
                raise StoreError(f"{settings.store_dir} is no store: no server has worked there")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ricefish-doctor-")))
            store = open_store(settings, stack.enter_context(Scratch(folder).opened()))
            stack.enter_context(store.open(alone=False))
            url = database_url(settings)
            database = Database(stack.enter_context(of_queue(url)))
            database.open()
            uploads = Scratch(scratch_dir(settings)).uploads_dir
        except DatabaseError as error:
            yield Finding("database", Level.FAIL, str(error), _RESTORE)
            return
        except (SettingsError, OSError) as error:
            yield Finding(
                "store", Level.FAIL, str(error), "RICEFISH_STORE and RICEFISH_DATABASE_URL must be a server's."
            )
            return
        stack.callback(database.close)
        if not queue_made(url):
            lost = f"{Database(url).name} is gone, or was never there: nothing is known of scans"
            yield Finding("database", Level.FAIL, lost, _LOST)
        yield from _StoreAudit(store, database, uploads, repair=repair, progress=progress).findings()


class _StoreAudit:
    def __init__(self, store: Store, database: Database, uploads: Path, *, repair: bool, progress: Progress) -> None:
        self._store = store
        self._database = database
        self._uploads = uploads
        self._jobs = Jobs(database, owner="doctor")
        self._corrections = Corrections(database, store, owner="doctor")
        self._repair = repair
        self._progress = progress
        self._models: set[str] = set()
        self._served: dict[str, str] = {}

    def findings(self) -> Iterator[Finding]:
        damaged = scans = 0
        yield from self._of_database()
        stored = set(self._store.scan_ids())
        for scan_id in self._jobs.each():
            stored.discard(scan_id)
            scans += 1
            self._progress(f"scan {scan_id}")
            for finding in self._of_scan(scan_id):
                damaged += 1
                yield finding
        for finding in (*self._of_models(), *self._of_uploads(), *self._without_row(stored)):
            damaged += 1
            yield finding
        level = Level.FAIL if damaged else Level.OK
        yield Finding("store", level, f"{self._store.name}: {scans} scans read, {damaged} damaged files", "")

    def _of_database(self) -> Iterator[Finding]:
        self._progress("the database")
        for problem in self._database.problems():
            yield Finding("database", Level.FAIL, problem, f"Stop the servers. {_RESTORE}")

    def _of_scan(self, scan_id: str) -> Iterator[Finding]:
        try:
            damage = self._damage(scan_id)
            if damage:  # something may just have been written or removed
                damage = self._damage(scan_id)
            scan, job = self._jobs.get(scan_id)
        except ScanNotFound:
            return
        except SQLAlchemyError as error:
            found = f"{self._database.name}: {first_line(error)}"
            yield Finding(f"scan {scan_id}, its row", Level.FAIL, found, _RESTORE)
            return
        except NoteDamaged as damaged:
            where = f"{damaged} ({self._database.name})"
            yield Finding(f"scan {scan_id}, its row", Level.FAIL, where, _RESTORE)
            return
        self._models.add(scan.model.key)
        self._served[scan.model.name] = scan_id
        lost = any(name.startswith(IMAGE_DIR) for name in damage)
        for name, how in damage.items():
            yield Finding(f"scan {scan_id}, {name}", Level.FAIL, how, _advice(scan, job, name, lost=lost))
        made = [name for name in damage if not name.startswith((CORRECTIONS_DIR, SOURCE_HEADERS))]
        if made and not lost and self._repair:
            self._jobs.remake(scan_id, "the stored result was found damaged; it is being made again")

    def _of_uploads(self) -> Iterator[Finding]:
        self._progress("uploads")
        for upload_id in damaged_uploads(self._uploads):
            found = "what is on the disk is not what arrived"
            yield Finding(f"upload {upload_id}", Level.FAIL, found, "Nothing: its sender is told to begin it again.")

    def _without_row(self, scan_ids: Collection[str]) -> Iterator[Finding]:
        """Folders that are there since before the database was asked, and that it knows nothing of."""
        known = self._database.known_scans()
        for scan_id in sorted(set(scan_ids) - known):
            found = "its files are here, and the database has no row of it"
            yield Finding(f"scan {scan_id}", Level.FAIL, found, _RESTORE)

    def _damage(self, scan_id: str) -> dict[str, str]:
        """Damaged files, by name relative to the scan, and how they are."""
        scan, job = self._jobs.get(scan_id)
        found = dict(damaged_voxels(self._store, scan))
        if scan.source_headers is not None:
            try:
                read_source_headers(self._store, scan)
            except DataDamaged as damaged:
                found[SOURCE_HEADERS] = str(damaged)
        for name in damaged_files(self._store, scan, job.checksums, whole=job.state == "succeeded"):
            found[f"{RESULT_DIR}/{name}"] = _NOT_AS_WRITTEN
        for correction in self._corrections.each(scan_id):
            for name in damaged_files(self._store, scan, correction.checksums, whole=True, place=correction.place):
                found[f"{correction.place}/{name}"] = f"{_NOT_AS_WRITTEN}: version {correction.number}"
        return found

    def _of_models(self) -> Iterator[Finding]:
        self._progress("models")
        cache = ModelCache(self._store.models_dir, remote=self._store)
        self._store.fetch_references()
        there = {key: cache.copy(key) is not None for key in sorted(self._models)}
        damaged = dict(cache.damaged())
        gone = self._jobs.needed_models() - {key for key, kept in there.items() if kept}
        damaged.update(dict.fromkeys(gone, "it is gone, and a scan that is not finished needs it"))
        for place, how in sorted(damaged.items()):
            advice = "A server fetches it from the registry, or copies it from its folder, when it next needs it."
            yield Finding(f"models/{place}", Level.FAIL, how, advice)
        if not any(place.startswith(REFERENCES_DIR) for place in damaged):  # a note that cannot be read may be theirs
            yield from self._without_note(cache)

    def _without_note(self, cache: ModelCache) -> Iterator[Finding]:
        """Models that scans began with and no note names: a server notes what it serves before it takes a scan."""
        for name in sorted(set(self._served) - cache.noted_models()):
            found = f"the note of what was served as {name} is gone; scan {self._served[name]} began with that model"
            advice = "A server writes it when it next serves the model; until then it needs the registry to start."
            yield Finding(f"models/{REFERENCES_DIR}", Level.FAIL, found, advice)


def _advice(scan: Scan, job: Job, name: str, *, lost: bool) -> str:
    if name.startswith(IMAGE_DIR):
        kept = " Its result is handed out all the same." if job.state == "succeeded" else ""
        return f"Post {scan.upload.filename} again, and delete this scan.{kept}"
    if name.startswith(CORRECTIONS_DIR):
        return "Nothing can make it again: have its author send it again, and remove this version."
    if name == SOURCE_HEADERS:
        return f"Post {scan.upload.filename} again where a DICOM segmentation is wanted; all else is handed out."
    if lost:
        return f"It cannot be made again, as {IMAGE_DIR} is damaged as well: post {scan.upload.filename} again."
    return "It is made again when it is next asked for, or at once with --repair, by the server or worker that runs."
