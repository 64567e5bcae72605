"""A handful of small posts that state large volumes delay nobody's small scan."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest

from tests.serving.intake.test_ways_in import nifti
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

LARGE = 8
SHAPE = (100, 1000, 1000)
"""100 million voxels, of a byte each."""


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("idle"), model_dir, concurrent_scans=0)
    yield running.start()
    running.end()


def empty_volume(number: int, shape: tuple[int, int, int] = SHAPE) -> bytes:
    """A .nii.gz of a thousandth of its size, another for each number."""
    image = nib.Nifti1Image(np.broadcast_to(np.uint8(number), shape).T, np.eye(4))
    return gzip.compress(image.to_bytes(), 6)


def test_a_small_scan_passes_large_ones(idle: RunningServer) -> None:
    """Eight posts of 100 KB that state 100 million voxels each: the small one is accepted before three of them are."""
    files, done = [empty_volume(number) for number in range(LARGE)], list[int]()
    assert max(map(len, files)) < 150_000
    together = threading.Barrier(LARGE)

    def post(number: int) -> None:
        with httpx.Client(trust_env=False, timeout=200) as http:
            together.wait()
            answer = http.post(f"{idle.url}/v1/scans?filename=empty.nii.gz", content=files[number])
        done.append(answer.status_code)

    with ThreadPoolExecutor(LARGE) as threads:
        posts = [threads.submit(post, number) for number in range(LARGE)]
        idle.until(lambda: idle.log.count("event=upload_received") >= LARGE)
        assert idle.post(nifti(1), "small.nii").status_code == 202
        before = len(done)
    for one in posts:
        one.result()
    assert done == [202] * LARGE
    assert before < 3, f"{before} large scans were accepted before the small one"


def test_more_voxels_than_bytes_can_hold_are_refused(tmp_path: Path, model_dir: Path, processes: None) -> None:
    """413 before a voxel is read, with the setting that says so; nothing is left."""
    server = RunningServer(tmp_path, model_dir, concurrent_scans=0, voxels_per_byte=100).start()
    try:
        answer = server.post(empty_volume(3, (20, 1000, 1000)), "empty.nii.gz")
        assert (answer.status_code, "RICEFISH_VOXELS_PER_BYTE" in answer.json()["detail"]) == (413, True), answer.text
        assert not any(server.incoming.iterdir())
        assert server.post(nifti(1), "small.nii").status_code == 202
    finally:
        server.end()
