"""The disk is full, or the store is gone, under scans: they wait for it, however long, and end with the right bytes."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.serving.intake.test_ways_in import nifti
from tests.serving.models import write_model
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

ATTEMPTS = 2
SETTINGS = {"slab_slices": 2, "batch_size": 1, "attempts": ATTEMPTS, "lease_seconds": 2}
SCAN = nifti(3, (40, 64, 64))


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("slow_model"), rounds=20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _outlive(server: RunningServer, break_it: Callable[[], None], mend_it: Callable[[], None], *, until: str) -> None:
    """Breaks what two scans under way need until a line is logged more often than there are attempts; mends it."""
    undisturbed = server.post(SCAN, "a.nii").json()["id"]
    assert server.until_ended(undisturbed)["state"] == "succeeded"
    scan_ids = [server.post(SCAN, "a.nii").json()["id"] for _ in range(2)]
    server.until(lambda: len(server.slabs_logged(scan_ids[0])) >= 2)
    break_it()
    try:
        server.until(lambda: len(re.findall(until, server.log)) > ATTEMPTS)
    finally:
        mend_it()
    for scan_id in scan_ids:
        assert server.until_ended(scan_id)["state"] == "succeeded"
        results = [server.get(f"/v1/scans/{name}/segmentation").content for name in (scan_id, undisturbed)]
        assert results[0] == results[1]


@pytest.mark.parametrize("database", ["elsewhere", "on the disk"])
def test_scans_wait_for_a_full_disk(small_disk: Path, tmp_path: Path, slow_model: Path, database: str) -> None:
    """Every byte of the disk taken while scans run: they are postponed until there is room, and none fails.

    Be the queue on the same disk or not.
    """
    folder = tmp_path if database == "elsewhere" else small_disk
    settings = {**SETTINGS, "database_url": f"sqlite:///{folder / 'jobs.sqlite'}"}
    server = RunningServer(tmp_path, slow_model, store=small_disk / "store", **settings).start()
    ballast = small_disk / "ballast"

    def fill() -> None:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 12)):
                pass

    said = "event=(scan_postponed|database_failed) .*(No space left|disk is full)"
    try:
        _outlive(server, fill, ballast.unlink, until=said)
    finally:
        assert server.end() == 0


def test_scans_wait_for_a_store_that_is_gone(tmp_path: Path, slow_model: Path) -> None:
    """The folder of the scans away, as if it were not mounted: the same."""
    server = RunningServer(tmp_path, slow_model, **SETTINGS).start()
    scans, remote = server.store / "scans", server.store / "elsewhere"

    def move(here: Path, there: Path) -> None:
        here.rename(there)

    try:
        gone = (partial(move, scans, remote), partial(move, remote, scans))
        _outlive(server, *gone, until="event=scan_postponed")
        assert "event=store_failed" in server.log
    finally:
        assert server.end() == 0
