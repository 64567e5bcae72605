"""Several processes on one PostgreSQL queue: killed, frozen, woken; and a short run of the long disturbance."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from rich.console import Console

from benchmarks import soak
from harness import forked, servers
from harness.postgresql import new_postgresql_database
from scans.formats import create_volume
from scans.geometry import Frame, Spacing
from tests.serving.models import write_model

SLICES = 60
PACE = soak.Pace(shape=(16, 96, 96), most_seconds=2.0, process=forked.ForkedProcess.of)


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("slow_model"), rounds=40)


class Site:
    """A server that only takes in, and two workers."""

    def __init__(self, folder: Path, model: Path, database: str) -> None:
        common = {
            "database_url": database, "threads": 1, "batch_size": 1, "slab_slices": 1, "lease_seconds": 2,
            "concurrent_scans": 1,
        }  # fmt: skip
        self.server = forked.server(folder, model=model, **{**common, "concurrent_scans": 0, "worker_id": "server"})
        store = folder / "store"
        self.workers = {
            name: forked.worker(folder, name=name, store=store, **common) for name in ("worker-0", "worker-1")
        }
        self.scans = store / "scans"
        self.http = httpx.Client(timeout=60, trust_env=False)

    def __enter__(self) -> Site:
        self.server.start()
        for worker in self.workers.values():
            worker.start()
        self.http = httpx.Client(base_url=self.server.url, timeout=60, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        for process in (*self.workers.values(), self.server):
            process.kill()

    def post(self) -> str:
        path = self.scans.parent / "fish.nii"
        grey = np.random.default_rng(3).integers(0, 999, (SLICES, 40, 48)).astype(np.uint16)
        with create_volume(path, shape=grey.shape, dtype=grey.dtype, frame=Frame.from_lps(Spacing(1, 1, 1))) as writer:
            writer.write(grey)
        answer = self.http.post("/v1/scans", params={"filename": "fish.nii", "fresh": True}, content=path.read_bytes())
        return str(answer.raise_for_status().json()["id"])

    def scan(self, scan_id: str) -> dict[str, object]:
        scan: dict[str, object] = self.http.get(f"/v1/scans/{scan_id}").json()
        return scan

    def until(self, scan_id: str, *, slices: int) -> str:
        """The worker that has done so many slices of a scan."""
        for _ in range(3000):
            scan = self.scan(scan_id)
            if int(str(scan["slices_done"])) >= slices:
                return str(scan["worker"])
            time.sleep(0.02)
        raise AssertionError(f"{scan} {[worker.log.read_text()[-2000:] for worker in self.workers.values()]}")

    def result(self, scan_id: str) -> bytes:
        return self.http.get(f"/v1/scans/{scan_id}/segmentation").raise_for_status().content

    def files(self, scan_id: str) -> dict[str, tuple[int, int]]:
        """Every file of a scan with its inode and time of change."""
        folder = self.scans / scan_id
        return {
            str(file.relative_to(folder)): (file.stat().st_ino, file.stat().st_mtime_ns)
            for file in folder.rglob("*")
            if file.is_file()
        }


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, slow_model: Path, postgresql: str, processes: None
) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site"), slow_model, new_postgresql_database(postgresql)) as site:
        yield site


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> bytes:
    scan_id = site.post()
    assert servers.wait_until_ended(site.http, scan_id)["state"] == "succeeded"
    return site.result(scan_id)


def test_a_killed_workers_scan_is_taken_over(site: Site, undisturbed: bytes) -> None:
    """Another goes on at the slab where it stopped, and the result has the same bytes."""
    scan_id = site.post()
    first = site.until(scan_id, slices=10)
    site.workers[first].kill()
    done = int(str(site.scan(scan_id)["slices_done"]))
    ended = servers.wait_until_ended(site.http, scan_id)
    assert ended["state"] == "succeeded" and ended["worker"] != first
    assert site.result(scan_id) == undisturbed
    (other,) = set(site.workers) - {first}
    slabs = [
        line for line in site.workers[other].log.read_text().splitlines() if f"slab_finished scan={scan_id}" in line
    ]
    assert len(slabs) <= SLICES - done + 1
    site.workers[first].start()


def test_a_frozen_worker_changes_nothing_when_it_wakes(site: Site, undisturbed: bytes) -> None:
    """SIGSTOP past the lease, SIGCONT after another has finished: not a file, not a row of the scan changes."""
    scan_id = site.post()
    frozen = site.until(scan_id, slices=10)
    site.workers[frozen].send(signal.SIGSTOP)
    try:
        ended = servers.wait_until_ended(site.http, scan_id)
        assert ended["state"] == "succeeded" and ended["worker"] != frozen
        files, said = site.files(scan_id), site.scan(scan_id)
    finally:
        site.workers[frozen].send(signal.SIGCONT)
    second = site.post()
    servers.wait_until_ended(site.http, second)
    log = site.workers[frozen].log
    for _ in range(100):
        if f"scan_let_go scan={scan_id}" in log.read_text():
            break
        time.sleep(0.1)
    assert f"scan_let_go scan={scan_id}" in log.read_text()
    assert site.files(scan_id) == files
    assert site.scan(scan_id) == said
    assert site.result(scan_id) == undisturbed
    assert not list((site.scans / scan_id).glob("attempts"))


def test_a_frozen_worker_that_wakes_in_the_middle_changes_nothing(site: Site, undisturbed: bytes) -> None:
    """It wakes while the other is at it: every slab that it still publishes is refused, and the scan ends once."""
    scan_id = site.post()
    frozen = site.until(scan_id, slices=5)
    site.workers[frozen].send(signal.SIGSTOP)
    try:
        done = int(str(site.scan(scan_id)["slices_done"]))
        other = site.until(scan_id, slices=done + 5)
    finally:
        site.workers[frozen].send(signal.SIGCONT)
    ended = servers.wait_until_ended(site.http, scan_id)
    assert (ended["state"], ended["worker"]) == ("succeeded", other) and other != frozen
    assert site.result(scan_id) == undisturbed


def test_a_removed_scan_is_let_go_by_a_worker_elsewhere(site: Site) -> None:
    """Its folder is gone at once, and stays gone; the worker takes the next scan."""
    scan_id = site.post()
    site.until(scan_id, slices=3)
    assert site.http.delete(f"/v1/scans/{scan_id}").status_code == 204
    following = site.post()
    assert servers.wait_until_ended(site.http, following)["state"] == "succeeded"
    assert not (site.scans / scan_id).exists()


@pytest.mark.process
def test_a_worker_needs_a_shared_queue(tmp_path: Path) -> None:
    """On SQLite it says what is missing."""
    worker = forked.worker(tmp_path, name="lonely", store=tmp_path / "store")
    with pytest.raises(servers.DidNotStart, match="PostgreSQL"):
        worker.start()


@pytest.mark.process
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")
def test_nothing_is_lost_whatever_is_killed(workers: int, model_dir: Path) -> None:
    """A few SIGKILLs over posts, uploads, cancellations and removals; `python -m benchmarks.soak` does hundreds."""
    row = soak.soak(kills=5, workers=workers, seed=11, console=Console(quiet=True), model=model_dir, pace=PACE)
    assert sum(row["hit"].values()) == 5
    assert row["ended"]["succeeded"] >= 1
