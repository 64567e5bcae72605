"""What lies in a raw data set is never written over by what a server hands out, and what was cut off goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ricefish.client.client import Client
from ricefish.dataset.errors import DataSetError
from scans.raw.provenance import read_provenance
from tests.e2e.corrected_scans import add, content, corrected, drawn, grey, posted, saved, voxels
from tests.serving.models import write_model
from tests.serving.running import RunningServer

IMAGE, LABELS = "labelled/images/fish.nii.gz", "labelled/labels/fish.nii.gz"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[RunningServer]:
    model = write_model(tmp_path_factory.mktemp("model"))
    running = RunningServer(tmp_path_factory.mktemp("server"), model)
    yield running.start()
    running.end()


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def test_an_image_of_ones_own_is_not_moved_over(client: Client, tmp_path: Path) -> None:
    """A scan was added without labels, another fish of the same name lies among the labelled, the scan is corrected:
    both images stay; once the other is out of the way, the scan moves.
    """
    scan_id, folder = posted(client, tmp_path, "fish", 21), tmp_path / "raw"
    add(client, folder, scan_id, experiment="spring")
    (folder / IMAGE).parent.mkdir(parents=True)
    saved(folder / IMAGE, grey(99))
    client.correct(scan_id, saved(tmp_path / "mine.nii.gz", drawn(21)))
    before = content(folder)
    with pytest.raises(DataSetError, match=r"nothing was added to .*\n.*images/fish\.nii\.gz is there with other"):
        add(client, folder, scan_id, experiment="spring")
    assert content(folder) == before
    (folder / IMAGE).rename(folder / "fish_of_mine.nii.gz")
    add(client, folder, scan_id, experiment="spring")
    np.testing.assert_array_equal(voxels(folder / IMAGE), grey(21))
    assert not list((folder / "unlabelled/spring").iterdir())


def test_labels_come_with_their_image_or_not_at_all(client: Client, tmp_path: Path) -> None:
    """Another fish of the name lies there without labels: it gets none of this scan's, and what was added is told."""
    scan_id, folder = corrected(client, tmp_path, "fish", 22), tmp_path / "raw"
    first = corrected(client, tmp_path, "first", 23)
    (folder / IMAGE).parent.mkdir(parents=True)
    saved(folder / IMAGE, grey(99))
    with pytest.raises(DataSetError) as error:
        add(client, folder, first, scan_id)
    assert str(error.value).startswith(f"added to {folder}: labelled/images/first.nii.gz; nothing after that:\n")
    assert error.value.problems == (f"{IMAGE} is there with other content; keep it under another name, or remove it",)
    assert not (folder / LABELS).exists()
    np.testing.assert_array_equal(voxels(folder / IMAGE), grey(99))
    assert list(read_provenance(folder)) == ["labelled/images/first.nii.gz"]


def test_an_update_that_was_cut_off_goes_on(client: Client, tmp_path: Path) -> None:
    """The new labels are there, their line is still the old one's: the same again completes it. Labels of somebody's
    own are not replaced by it.
    """
    scan_id, folder = corrected(client, tmp_path, "fish", 24), tmp_path / "raw"
    folder.mkdir()
    one, two = client.segmentations(scan_id).organs.names
    (folder / "organs.yaml").write_text(f"1: {two}\n2: {one}\n")
    add(client, folder, scan_id)
    earlier = (folder / "provenance.csv").read_bytes()
    client.correct(scan_id, saved(tmp_path / "mine.nii.gz", drawn(25)))
    add(client, folder, scan_id, update=True)
    whole = content(folder)
    (folder / "provenance.csv").write_bytes(earlier)
    with pytest.raises(DataSetError, match=r"2 is the latest; --update replaces it"):
        add(client, folder, scan_id)
    add(client, folder, scan_id, update=True)
    assert content(folder) == whole
    (folder / "provenance.csv").write_bytes(earlier)
    saved(folder / LABELS, drawn(26))
    before = content(folder)
    with pytest.raises(DataSetError, match=r"labels/fish\.nii\.gz is there with other content"):
        add(client, folder, scan_id, update=True)
    assert content(folder) == before
