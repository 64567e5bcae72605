"""Scans outlive the server: killed, stopped or restarted, none is lost, and no finished slab is done again."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ricefish.client import Client
from tests.serving.models import write_model
from tests.serving.running import RunningServer

SLICES = 30


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("slow_model"), rounds=50)


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    grey = np.random.default_rng(3).integers(0, 999, (48, 40, SLICES)).astype(np.int16)
    path = tmp_path_factory.mktemp("scan") / "fish.nii.gz"
    nib.save(nib.Nifti1Image(grey, np.eye(4)), path)
    return path


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory, slow_model: Path, processes: None) -> Iterator[RunningServer]:
    """Each test kills and starts it as it likes, and leaves it running."""
    running = RunningServer(tmp_path_factory.mktemp("slow_server"), slow_model, slab_slices=1, concurrent_scans=1)
    yield running.start()
    running.end(signal.SIGKILL)


def _begun(server: RunningServer, scan_file: Path) -> str:
    scan_id: str = server.post(scan_file, "fish.nii.gz").json()["id"]
    server.until(lambda: len(server.slabs_logged(scan_id)) >= 5)
    return scan_id


def _voxels(server: RunningServer, scan_id: str, path: Path) -> np.ndarray:
    path.write_bytes(server.get(f"/v1/scans/{scan_id}/segmentation").content)
    return np.asarray(nib.load(path).dataobj)


def test_a_scan_under_way_can_be_removed(slow_server: RunningServer, scan_file: Path) -> None:
    """DELETE ends it at the next slab, leaves nothing, and the scan that waits behind it gets its turn."""
    scan_id = slow_server.post(scan_file, "fish.nii.gz").json()["id"]
    slow_server.until(lambda: len(slow_server.slabs_logged(scan_id)) >= 1)
    waiting = slow_server.post(scan_file, "next.nii.gz").json()
    assert waiting["state"] == "queued"
    slow_server.until(lambda: len(slow_server.slabs_logged(scan_id)) >= 5)
    early = slow_server.get(f"/v1/scans/{scan_id}/segmentation")
    assert early.status_code == 409
    assert int(early.headers["retry-after"]) > 0
    assert slow_server.delete(f"/v1/scans/{scan_id}").status_code == 204
    assert slow_server.get(f"/v1/scans/{scan_id}").status_code == 404
    assert not (slow_server.store / "scans" / scan_id).exists()
    assert slow_server.until_ended(waiting["id"])["state"] == "succeeded"
    assert not (slow_server.store / "scans" / scan_id).exists()
    assert "Traceback" not in slow_server.log


def test_a_killed_server_finishes_what_it_began(slow_server: RunningServer, scan_file: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle: started again, it goes on at the next slab and answers like an undisturbed run.

    A client that waits for the scan meanwhile does not notice but for the time it takes.
    """
    scan_id = _begun(slow_server, scan_file)
    slow_server.end(signal.SIGKILL)
    done = len(slow_server.slabs_logged(scan_id))
    assert done < SLICES
    restart = threading.Timer(0.5, lambda: slow_server.start(same_port=True))
    restart.start()
    with Client(slow_server.url) as client:
        *_, end = client.wait(scan_id)
    restart.join()
    assert (end.state, end.slices_done) == ("succeeded", SLICES)
    slabs = slow_server.slabs_logged(scan_id)
    again = len(slabs) - SLICES
    assert again <= 1, "at most the slab whose result was not recorded yet"
    assert slabs == [*range(done), *range(done - again, SLICES)]
    undisturbed = slow_server.post(scan_file, "fish.nii.gz").json()["id"]
    slow_server.until_ended(undisturbed)
    killed_bytes = slow_server.get(f"/v1/scans/{scan_id}/segmentation").content
    assert killed_bytes == slow_server.get(f"/v1/scans/{undisturbed}/segmentation").content
    organs = [slow_server.get(f"/v1/scans/{name}/organs").json()["organs"] for name in (scan_id, undisturbed)]
    assert organs[0] == organs[1]
    assert sum(organ["voxels"] for organ in organs[0]) == np.count_nonzero(
        _voxels(slow_server, scan_id, tmp_path / "out.nii.gz")
    )


def test_a_stopped_server_ends_the_slab_and_goes_on_later(
    slow_server: RunningServer, scan_file: Path, tmp_path: Path
) -> None:
    """SIGTERM: exit status 0, the scan unfinished; started with a retrained model it ends on the one it began with."""
    scan_id = _begun(slow_server, scan_file)
    began_with = slow_server.get(f"/v1/scans/{scan_id}").json()["model"]
    assert slow_server.end(signal.SIGTERM) == 0
    assert len(slow_server.slabs_logged(scan_id)) < SLICES
    slow_server.set(model=write_model(tmp_path / "retrained", thresholds=(0.1, 0.2)))
    slow_server.start()
    status = slow_server.until_ended(scan_id)
    assert (status["state"], status["model"]) == ("succeeded", began_with)
    assert slow_server.slabs_logged(scan_id) == list(range(SLICES))
    fresh = slow_server.post(scan_file, "fish.nii.gz").json()
    assert fresh["model"]["sha256"] != began_with["sha256"]
    slow_server.until_ended(fresh["id"])
    first, second = (_voxels(slow_server, name, tmp_path / "o.nii.gz") for name in (scan_id, fresh["id"]))
    assert np.count_nonzero(first) < np.count_nonzero(second)


def test_what_a_crash_left_half_done_is_swept_away(slow_server: RunningServer, scan_file: Path) -> None:
    """Half an upload, half an acceptance and half a removal are gone at the next start; finished scans are not."""
    scan_id = slow_server.post(scan_file, "fish.nii.gz").json()["id"]
    slow_server.until_ended(scan_id)
    slow_server.end(signal.SIGKILL)
    for leftover in ("scratch/incoming/tmp1/source", "deleted/tmp3", f"scans/{'a' * 32}", f"scans/{'b' * 32}"):
        (slow_server.store / leftover).mkdir(parents=True)
    with sqlite3.connect(slow_server.store / "jobs.sqlite") as database:
        columns = (
            "created, content, sha256, model_key, priority, not_before, failures, starts, owner, epoch, slabs_done"
        )
        for name, state in (("a" * 32, "arriving"), ("b" * 32, "deleted")):
            database.execute(  # the columns are the literal above
                f"INSERT INTO ricefish_scans (id, state, {columns}) SELECT ?, ?, {columns} FROM ricefish_scans LIMIT 1",  # noqa: S608
                (name, state),
            )
    slow_server.start()
    for name in ("scratch/incoming", "deleted"):
        assert not any((slow_server.store / name).iterdir())
    assert [
        folder.name for folder in (slow_server.store / "scans").iterdir() if folder.name[0] * 32 == folder.name
    ] == []
    assert slow_server.get(f"/v1/scans/{scan_id}").json()["state"] == "succeeded"
