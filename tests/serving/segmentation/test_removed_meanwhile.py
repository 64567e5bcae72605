"""A scan that is removed while its result is fetched is gone; nothing of it is damaged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.queue.jobs import ScanNotFound
from serving.segmentation.pictures import PictureStyle
from tests.serving.conftest import Example
from tests.serving.in_process import App, running_app

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("removed"), model_dir, slab_slices=4) as running:
        yield running


def finished(app: App, example: Example) -> str:
    target = b"/v1/scans?fresh=true&filename=fish_7.nii.gz"
    scan_id: str = app.ask("POST", target, body=example.path.read_bytes()).json()["id"]
    deadline = time.monotonic() + 60
    while app.resources.jobs.get(scan_id)[1].state in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return scan_id


def test_what_is_fetched_of_a_removed_scan_is_not_there(app: App, example: Example) -> None:
    """Downloads and pictures that had begun when it was removed: as if it had been removed before."""
    scan_id = finished(app, example)
    scan, job = app.resources.jobs.get(scan_id)
    results = app.resources.results
    begun = results.download(scan, job, "nrrd").pieces
    assert app.ask("DELETE", f"/v1/scans/{scan_id}".encode()).status == 204
    with pytest.raises(ScanNotFound):
        results.download(scan, job, "nii.gz")
    with pytest.raises(ScanNotFound):
        list(begun)
    with pytest.raises(ScanNotFound):
        results.picture(scan, job, "z", 1, style=PictureStyle(opacity=0.5, scale_bar=False, legend=False))
