"""What the pipeline calls a scan that a server was sent, and which folder it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.intake.filename import folder_of
from serving.intake.parameters import Parameters
from serving.intake.sources import Sources
from serving.queue.scan import Scan, Upload
from serving.review.enrolment import volume_id
from tests.serving.queues import new_scan
from training.data.raw import discover

FILES = ("images/fish.nii.gz", "day_7/fish.tif", "day_7/Gro\u0308ße.nii", "images/pt_2.seg.nrrd")


def test_a_server_and_the_pipeline_have_one_name_for_a_scan(tmp_path: Path) -> None:
    """Sent by its path in the raw data set, and fetched from there by its address."""
    (tmp_path / "organs.yaml").write_text("1: heart\n")
    for part in ("labelled/images", "labelled/labels"):
        (tmp_path / part).mkdir(parents=True)
    for name in FILES:
        path = tmp_path / "unlabelled" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    known = {scan.id for scan in discover(tmp_path).scans}
    sent = [Parameters(filename=f"unlabelled/{name}") for name in FILES]
    found = [Sources((tmp_path,), (), None).open(f"file://{tmp_path}/unlabelled/{name}") for name in FILES]
    fetched = [Parameters(filename=source.name, folder=folder_of(f"{source.folder}/x")) for source in found]
    for parameters in (sent, fetched):
        scans = [new_scan(upload=one.upload(one.safe_filename, sha256="", size=1)) for one in parameters]
        assert {volume_id(scan) for scan in scans} == known
    assert {"fish", "day_7-fish", "day_7-Größe"} < known


@pytest.mark.parametrize(
    ("filename", "folder"),
    [
        ("fish.nii", None),
        ("/fish.nii", None),
        ("day_7/fish.nii", "day_7"),
        ("C:\\beam\\day 7\\fish.nii", "day 7"),
        ("day_7/./fish.nii", "day_7"),
        ("day_7/../fish.nii", None),
        ("a\0\nb/fish.nii", "ab"),
        (f"{'x' * 201}/fish.nii", None),
        (None, None),
    ],
)
def test_the_last_folder_that_a_sender_names_is_kept(filename: str | None, folder: str | None) -> None:
    """As far as it can be a name; nothing of what leads there."""
    assert folder_of(filename) == folder


def test_a_scan_of_before_comes_from_no_folder() -> None:
    """What is written down of one without a folder is as it was before there were any."""
    scan = new_scan()
    assert "folder" not in scan.to_dict()["upload"] and Scan.from_dict(scan.to_dict()) == scan
    placed = new_scan(upload=Upload("fish.nii", "ab" * 32, 10, None, folder="day_7"))
    assert Scan.from_dict(placed.to_dict()).upload.folder == "day_7"
