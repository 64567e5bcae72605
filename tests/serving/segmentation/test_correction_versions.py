"""Versions of a segmentation in the store: killed servers, damage, and whose they are."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from harness import forked
from serving.auth.keys import Keys
from serving.storage.database import Database
from tests.serving.conftest import AFFINE, Example
from tests.serving.corrected import Labels, as_nifti, fetched, put, segmented, voxels
from tests.serving.intake.test_ways_in import nifti
from tests.serving.running import RunningServer

SHAPE = (96, 40, 33)
"""With slabs of a slice, so many files that storing them takes a while."""


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[RunningServer]:
    """One that its tests may kill."""
    running = RunningServer(tmp_path_factory.mktemp("killed"), model_dir, slab_slices=1)
    yield running.start()
    running.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def scan_id(own_server: RunningServer) -> str:
    scan_id: str = own_server.post(nifti(3, SHAPE), "fish.nii").json()["id"]
    assert own_server.until_ended(scan_id)["state"] == "succeeded"
    return scan_id


def drawn(seed: int) -> Labels:
    return np.random.default_rng(seed).integers(0, 3, SHAPE).astype(np.uint8)


def _rows(server: RunningServer) -> list[tuple[str, str, int | None]]:
    with closing(sqlite3.connect(server.store / "jobs.sqlite", timeout=60)) as database:
        return database.execute("SELECT id, state, number FROM ricefish_corrections").fetchall()


def _received(server: RunningServer) -> bool:
    return any(server.incoming.glob("*/labels"))


def _written(server: RunningServer) -> bool:
    return any(server.incoming.glob("*/pyramid/0/c/*"))


def _arriving(server: RunningServer) -> bool:
    return any(state == "arriving" for _, state, _ in _rows(server))


@pytest.mark.parametrize("reached", [_received, _written, _arriving])
def test_a_killed_server_has_stored_the_version_or_nothing(
    own_server: RunningServer, scan_id: str, reached: Callable[[RunningServer], bool]
) -> None:
    """SIGKILL while labels are read, the pyramid is written, the files are stored: what is shown is whole, nothing else
    is there, and the same file sent again is one version.
    """
    labels = drawn(sum(map(ord, reached.__name__)))
    content = as_nifti(labels, fetched(own_server, scan_id, "&version=0").affine)
    before = own_server.get(f"/v1/scans/{scan_id}/segmentations").json()["versions"]

    def send() -> None:
        with suppress(httpx.HTTPError), httpx.Client(timeout=60) as http:
            http.put(
                f"{own_server.url}/v1/scans/{scan_id}/segmentation", params={"filename": "a.nii.gz"}, content=content
            )

    sending = threading.Thread(target=send)
    sending.start()
    own_server.until(lambda: reached(own_server) or not sending.is_alive())
    own_server.end(signal.SIGKILL)
    sending.join()
    own_server.start()
    after = own_server.get(f"/v1/scans/{scan_id}/segmentations").json()["versions"]
    assert after[: len(before)] == before and len(after) - len(before) in (0, 1)
    folder = own_server.store / "scans" / scan_id / "corrections"
    stored = {f"{row_id}.ome.zarr" for row_id, state, _ in _rows(own_server) if state == "stored"}
    assert {path.name for path in folder.iterdir()} == stored if folder.exists() else not stored
    assert not list(own_server.incoming.iterdir())
    again = put(own_server, scan_id, content, "a.nii.gz")
    assert again.status_code == (201 if len(after) == len(before) else 200)
    assert len(own_server.get(f"/v1/scans/{scan_id}/segmentations").json()["versions"]) == len(before) + 1
    np.testing.assert_array_equal(voxels(fetched(own_server, scan_id)), labels)


def test_what_a_crash_left_of_a_correction_is_swept_away(own_server: RunningServer, scan_id: str) -> None:
    """Files of one that was being stored, or being removed, are gone at the next start; the number of the latter is not
    given again.
    """
    affine = fetched(own_server, scan_id, "&version=0").affine
    removed = put(own_server, scan_id, as_nifti(drawn(11), affine), "a.nii.gz").json()["version"]
    own_server.end(signal.SIGKILL)
    folder = own_server.store / "scans" / scan_id / "corrections"
    arriving = folder / f"{'a' * 32}.ome.zarr"
    (arriving / "0").mkdir(parents=True)
    with closing(sqlite3.connect(own_server.store / "jobs.sqlite")) as database:
        database.execute(
            "INSERT INTO ricefish_corrections (id, scan_id, state, created, sha256, owner) "
            "SELECT ?, scan_id, 'arriving', created, sha256, 'another' FROM ricefish_corrections WHERE number = ?",
            ("a" * 32, removed),
        )
        database.execute("UPDATE ricefish_corrections SET state = 'deleted' WHERE number = ?", (removed,))
        database.commit()
    there = len(list(folder.iterdir()))
    own_server.start()
    assert len(list(folder.iterdir())) == there - 2 and not arriving.exists()
    assert own_server.get(f"/v1/scans/{scan_id}/segmentation?version={removed}").status_code == 404
    answer = put(own_server, scan_id, as_nifti(drawn(12), affine), "a.nii.gz")
    assert answer.json()["version"] == removed + 1


def test_a_damaged_correction_is_not_handed_out(own_server: RunningServer, scan_id: str) -> None:
    """503 with the reason, be a file of it gone or another; the model's answer is, and the doctor names the file."""
    affine = fetched(own_server, scan_id, "&version=0").affine
    put(own_server, scan_id, as_nifti(drawn(21), affine), "mine.nii.gz").raise_for_status()
    row_id = max((number or 0, row_id) for row_id, state, number in _rows(own_server) if state == "stored")[1]
    place = f"corrections/{row_id}.ome.zarr/0/c/7/0/0"
    shard = own_server.store / "scans" / scan_id / place
    whole = shard.read_bytes()
    for content in (None, bytes([whole[0] ^ 1]) + whole[1:]):
        shard.unlink(missing_ok=True)
        if content is not None:
            shard.write_bytes(content)
        answer = own_server.get(f"/v1/scans/{scan_id}/segmentation")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:ricefish:problem:correction-damaged")
        assert "mine.nii.gz" in answer.json()["detail"]
        assert fetched(own_server, scan_id, "&version=0").shape == SHAPE[::-1]
    status, said = _doctor(own_server)
    assert status == 1 and place in said and "have its author send it again" in said
    shard.write_bytes(whole)
    assert _doctor(own_server)[0] == 0
    assert own_server.get(f"/v1/scans/{scan_id}").json()["state"] == "succeeded"
    np.testing.assert_array_equal(voxels(fetched(own_server, scan_id)), drawn(21))


def test_a_damaged_row_of_a_correction_is_not_believed(own_server: RunningServer, scan_id: str) -> None:
    """503 rather than another author or other counts; a list goes without it, and the doctor names it."""
    affine = fetched(own_server, scan_id, "&version=0").affine
    number = put(own_server, scan_id, as_nifti(drawn(31), affine), "mine.nii.gz").json()["version"]
    with closing(sqlite3.connect(own_server.store / "jobs.sqlite", timeout=60)) as database:
        for before, after in (("mine.nii.gz", "hers.nii.gz"), ("hers.nii.gz", "mine.nii.gz")):
            database.execute(
                "UPDATE ricefish_corrections SET content = replace(content, ?, ?) WHERE number = ?",
                (before, after, number),
            )
            database.commit()
            listed = own_server.get(f"/v1/scans/{scan_id}/segmentations").json()["versions"]
            whole = after == "mine.nii.gz"
            assert (number in [one["version"] for one in listed]) == whole
            assert own_server.get(f"/v1/scans/{scan_id}/organs").status_code == (200 if whole else 503)
            status, said = _doctor(own_server)
            assert status == (not whole) and (f"correction {number} of scan {scan_id}" in said) == (not whole)


def _doctor(server: RunningServer) -> tuple[int, str]:
    """Exit status, and what it says."""
    url, log = f"sqlite:///{server.store / 'jobs.sqlite'}", server.process.log.with_name("doctor.log")
    return forked.ran(("doctor", "--store", "--json", str(server.store)), log=log, database_url=url)


def test_a_correction_belongs_to_its_author(tmp_path: Path, model_dir: Path, example: Example, processes: None) -> None:
    """Keys of one owner are one author; an admin may correct another's scan and remove every correction, its owner not
    the admin's; to others none of it is there.
    """
    url = f"sqlite:///{tmp_path}/q.sqlite"
    database = Database(url)
    database.open()
    shown = {
        name: Keys(database).add(owner=owner, scopes=[scope])
        for name, owner, scope in (
            ("ada", "ada", "segment"),
            ("ada's other", "ada", "segment"),
            ("root", "root", "admin"),
            ("eve", "eve", "segment"),
        )
    }
    database.close()
    server = RunningServer(tmp_path, model_dir, database_url=url)
    try:
        server.start()

        def as_(name: str) -> RunningServer:
            server.http.headers["Authorization"] = f"Bearer {shown[name]}"
            return server

        scan_id = segmented(as_("ada"), example.path)
        ours, theirs = (np.full(example.grey.shape, index, np.uint8) for index in (1, 2))
        first = put(server, scan_id, as_nifti(ours, AFFINE), "a.nii.gz").json()
        assert (first["version"], first["author"]) == (1, "ada")
        assert put(as_("ada's other"), scan_id, as_nifti(ours, AFFINE), "a.nii.gz").status_code == 200
        by_root = [put(as_("root"), scan_id, as_nifti(labels, AFFINE), "a.nii.gz") for labels in (ours, theirs)]
        assert [(one.status_code, one.json()["author"]) for one in by_root] == [(201, "root")] * 2
        assert put(as_("eve"), scan_id, as_nifti(ours, AFFINE), "a.nii.gz").status_code == 404
        removals = [
            as_(who).delete(f"/v1/scans/{scan_id}/segmentations/{number}").status_code
            for who, number in (("eve", 1), ("ada", 3), ("ada's other", 1), ("root", 3))
        ]
        assert removals == [404, 403, 204, 204]
        listed = as_("ada").get(f"/v1/scans/{scan_id}/segmentations").json()["versions"]
        assert [(one["version"], one["author"]) for one in listed] == [(0, None), (2, "root")]
    finally:
        server.end()
