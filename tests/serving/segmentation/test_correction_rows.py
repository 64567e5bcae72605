"""Rows of corrections, in SQLite and PostgreSQL: numbers, the same file twice, and scans that go meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from scans.measures.metrics import OrganCounts
from serving.queue.jobs import Jobs, Priority, ScanNotFound, WrongState
from serving.queue.scan import Scan
from serving.segmentation.correction import Correction, Findings, SentLabels
from serving.segmentation.corrections import Corrections, VersionNotFound
from serving.storage import FolderStore
from serving.storage.database import Database
from serving.storage.tables import corrections as table
from tests.serving.queues import STATISTICS, commit, leases, new_scan

COUNTS = OrganCounts(*(np.array(column, dtype=np.int64) for column in ([5, 0], [1, 0], [2, 3])))
FINDINGS = Findings(STATISTICS, COUNTS, not_labelled=4, labels_sha256="ef" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderStore]:
    store = FolderStore(tmp_path / "store")
    with store.open(alone=True):
        yield store


@pytest.fixture
def kept(database: Database, store: FolderStore) -> Corrections:
    return Corrections(database, store, owner="server")


@pytest.fixture
def scan(jobs: Jobs, database: Database, store: FolderStore, tmp_path: Path) -> Scan:
    """One that has succeeded, in the store and in the queue."""
    scan = new_scan()
    incoming = tmp_path / "incoming"
    (incoming / "source").mkdir(parents=True)
    assert jobs.reserve(scan, priority=Priority.NORMAL, checksums={})
    store.accept(incoming, scan.id)
    jobs.enqueue(scan.id)
    by = leases(database, "worker")
    lease = by.take(Priority.NORMAL)
    assert lease is not None
    commit(by, lease, slabs_done=len(scan.boxes))
    by.succeed(lease)
    assert jobs.get(scan.id)[1].state == "succeeded"
    return scan


def added(kept: Corrections, tmp_path: Path, scan_id: str, *, sha256: str, author: str | None = None) -> Correction:
    folder = tmp_path / uuid.uuid4().hex
    folder.mkdir()
    (folder / "zarr.json").write_text("{}")
    sent = SentLabels("mine.nii", sha256, 7)
    return kept.add(
        folder, uuid.uuid4().hex, scan_id, author=author, sent=sent, findings=FINDINGS, checksums={"zarr.json": "0"}
    )


def folders(store: FolderStore, tmp_path: Path, scan_id: str) -> list[str]:
    place = tmp_path / "store" / "scans" / scan_id / "corrections"
    return sorted(path.name for path in place.iterdir()) if place.exists() else []


def test_what_is_noted_comes_back(kept: Corrections, scan: Scan, tmp_path: Path) -> None:
    """Author, counts and statistics: two voxels of the first organ were added and one removed, Dice 10 / 13."""
    first = added(kept, tmp_path, scan.id, sha256="1" * 64, author="ada")
    assert first.number == 1 and first.author == "ada" and first.findings.statistics == STATISTICS
    changes = first.findings.changes(scan.organs)
    assert [(one.name, one.added, one.removed, one.dice) for one in changes] == [
        ("heart", 2, 1, pytest.approx(10 / 13)),
        ("eye", 3, 0, 0.0),
    ]
    assert kept.get(scan.id, 1).sent == first.sent == kept.latest(scan.id).sent  # type: ignore[union-attr]
    with pytest.raises(VersionNotFound):
        kept.get(scan.id, 2)


def test_numbers_are_given_once_to_any_number_at_once(
    kept: Corrections, store: FolderStore, scan: Scan, tmp_path: Path
) -> None:
    """Eight files from as many threads; four times the same file is one version, and one folder."""
    with ThreadPoolExecutor(8) as threads:
        digests = [f"{number % 5}" * 64 for number in range(8)]
        made = list(threads.map(lambda sha256: added(kept, tmp_path, scan.id, sha256=sha256), digests))
    assert sorted({one.number for one in made}) == [1, 2, 3, 4, 5]
    assert {one.sent.sha256: one.number for one in made} == {
        one.sent.sha256: one.number for one in kept.of_scan(scan.id)
    }
    assert len(folders(store, tmp_path, scan.id)) == 5


def test_a_removed_version_leaves_its_number(
    kept: Corrections, store: FolderStore, database: Database, jobs: Jobs, scan: Scan, tmp_path: Path
) -> None:
    """Its row says nothing more, until the scan goes as well."""
    added(kept, tmp_path, scan.id, sha256="1" * 64)
    kept.remove(added(kept, tmp_path, scan.id, sha256="2" * 64))
    assert added(kept, tmp_path, scan.id, sha256="2" * 64).number == 3
    assert [one.number for one in kept.of_scan(scan.id)] == [1, 3]
    with database.reading() as connection:
        gone = connection.execute(select(table).where(table.c.number == 2)).one()
    assert (gone.state, gone.content) == ("gone", None)
    jobs.remove(scan.id)
    store.remove(scan.id)
    jobs.forget([scan.id])
    with database.reading() as connection:
        assert not connection.execute(select(table)).all()


@pytest.mark.parametrize("what", ["removed", "made again"])
def test_a_scan_that_goes_meanwhile_takes_no_correction(
    kept: Corrections, store: FolderStore, database: Database, jobs: Jobs, scan: Scan, tmp_path: Path, what: str
) -> None:
    """It is told, and neither a row nor a folder stays."""
    if what == "removed":
        jobs.remove(scan.id)
        store.remove(scan.id)
    else:
        assert jobs.remake(scan.id, "it is damaged")
    with pytest.raises(ScanNotFound if what == "removed" else WrongState):
        added(kept, tmp_path, scan.id, sha256="1" * 64)
    assert not folders(store, tmp_path, scan.id)
    assert (tmp_path / "store" / "scans" / scan.id).exists() == (what == "made again")
    with database.reading() as connection:
        assert not connection.execute(select(table)).all()


def test_a_store_that_fails_leaves_nothing(
    kept: Corrections, store: FolderStore, scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: the error is told, and what was written is removed at once."""
    whole = FolderStore.add_correction

    def full(self: FolderStore, incoming: Path, scan_id: str, correction_id: str) -> None:
        whole(self, incoming, scan_id, correction_id)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "add_correction", full)
        with pytest.raises(OSError, match="No space left"):
            added(kept, tmp_path, scan.id, sha256="1" * 64)
    assert not folders(store, tmp_path, scan.id) and not kept.of_scan(scan.id)
    assert added(kept, tmp_path, scan.id, sha256="1" * 64).number == 1


def test_what_arrives_at_another_server_is_left_alone(
    database: Database, store: FolderStore, scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server starts while a correction is stored: it goes on, unless it is this one that died."""
    here, there = Corrections(database, store, owner="here"), Corrections(database, store, owner="there")
    whole = FolderStore.add_correction

    def meanwhile(self: FolderStore, incoming: Path, scan_id: str, correction_id: str) -> None:
        whole(self, incoming, scan_id, correction_id)
        there.give_up(starting=True)
        there.sweep()

    monkeypatch.setattr(FolderStore, "add_correction", meanwhile)
    assert added(here, tmp_path, scan.id, sha256="1" * 64).number == 1
    assert len(folders(store, tmp_path, scan.id)) == 1
