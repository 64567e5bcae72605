"""Corrections go back to the server, and come from it into a data set that `prepare` reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ricefish.client.client import Client, RicefishError
from ricefish.dataset.errors import DataSetError
from scans.organs import OrganMap
from scans.raw.provenance import read_provenance
from tests.e2e.corrected_scans import add, content, corrected, drawn, grey, posted, saved, voxels
from tests.serving.models import write_model
from tests.serving.running import RunningServer
from tests.training.stages.test_prepare import params
from training.data.prepared import Catalogue, SliceReader
from training.stages.prepare import prepare


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


def _ricefish(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ricefish", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_commands_make_a_data_set_that_prepare_reads(server: RunningServer, client: Client, tmp_path: Path) -> None:
    """`correct` prints the version; `dataset add` twice is once; the catalogue names each correction, and no scan's
    voxel is another than was sent.
    """
    ids = [posted(client, tmp_path, f"fish_{seed}", seed) for seed in (1, 2, 3)]
    for seed, scan_id in enumerate(ids[:2], start=1):
        labels = saved(tmp_path / f"labels_{seed}.nii.gz", drawn(seed))
        done = _ricefish("correct", scan_id, str(labels), "--server", server.url)
        assert done.returncode == 0, done.stderr
        assert f"version 1 of scan {scan_id}" in done.stdout and "heart" in done.stdout
    folder = tmp_path / "raw"
    command = ("dataset", "add", str(folder), "--scans", *ids, "--experiment", "spring", "--server", server.url)
    first = _ricefish(*command)
    assert first.returncode == 0, first.stderr
    before = content(folder)
    again = _ricefish(*command)
    assert again.returncode == 0 and again.stdout.count("is there already") == 3, again.stdout
    assert content(folder) == before
    assert set(before) == {
        *("organs.yaml", "provenance.csv", "unlabelled/spring/fish_3.nii.gz"),
        *(f"labelled/{kind}/fish_{seed}.nii.gz" for kind in ("images", "labels") for seed in (1, 2)),
    }
    for seed in (1, 2):
        np.testing.assert_array_equal(voxels(folder / f"labelled/images/fish_{seed}.nii.gz"), grey(seed))
        np.testing.assert_array_equal(voxels(folder / f"labelled/labels/fish_{seed}.nii.gz"), drawn(seed))
    prepare(params(folder), tmp_path / "prepared")
    catalogue = Catalogue.read(tmp_path / "prepared")
    assert catalogue.organs == OrganMap.from_yaml(folder / "organs.yaml") == client.segmentations(ids[0]).organs
    assert {name: (one.scan, one.correction, one.server) for name, one in catalogue.corrections.items()} == {
        f"fish_{seed}": (ids[seed - 1], "1", server.url) for seed in (1, 2)
    }
    unlabelled = next(volume for volume in catalogue.volumes if volume.id == "spring-fish_3")
    assert unlabelled.origin is not None and (unlabelled.origin.scan, unlabelled.origin.correction) == (ids[2], "")
    reader = SliceReader(tmp_path / "prepared", cache_megabytes=1)
    np.testing.assert_array_equal(reader.labels("fish_1", 3), drawn(1)[3])
    np.testing.assert_array_equal(reader.image("spring-fish_3", 0), grey(3)[0])


def test_what_was_changed_by_hand_has_no_origin_any_more(client: Client, tmp_path: Path) -> None:
    """Labels that were edited in the folder are no correction of the server's; `add` does not write over them."""
    ids = [corrected(client, tmp_path, f"fish_{seed}", seed) for seed in (4, 5)]
    folder = tmp_path / "raw"
    add(client, folder, *ids)
    saved(folder / "labelled/labels/fish_4.nii.gz", drawn(44))
    prepare(params(folder), tmp_path / "prepared")
    assert set(Catalogue.read(tmp_path / "prepared").corrections) == {"fish_5"}
    with pytest.raises(DataSetError, match=r"labelled/labels/fish_4\.nii\.gz is not what was added"):
        add(client, folder, *ids)


def test_a_later_correction_replaces_an_earlier_one_on_demand(client: Client, tmp_path: Path) -> None:
    """Without --update it is told and nothing is done; the number in provenance.csv is that of the labels."""
    scan_id, folder = corrected(client, tmp_path, "fish", 6), tmp_path / "raw"
    add(client, folder, scan_id)
    client.correct(scan_id, saved(tmp_path / "mine.nii.gz", drawn(66)))
    before = content(folder)
    with pytest.raises(DataSetError, match=r"is correction 1 of scan .*, and 2 is the latest; --update"):
        add(client, folder, scan_id)
    assert content(folder) == before
    add(client, folder, scan_id, update=True)
    np.testing.assert_array_equal(voxels(folder / "labelled/labels/fish.nii.gz"), drawn(66))
    assert read_provenance(folder)["labelled/images/fish.nii.gz"].correction == "2"
    client.delete_correction(scan_id, 2)
    assert [version.number for version in client.segmentations(scan_id).versions] == [0, 1]


def test_a_scan_that_is_corrected_later_leaves_the_unlabelled(client: Client, tmp_path: Path) -> None:
    """It is in the data set once, with its labels."""
    scan_id, folder = posted(client, tmp_path, "fish", 7), tmp_path / "raw"
    with pytest.raises(DataSetError, match="nobody has corrected scan"):
        add(client, folder, scan_id)
    assert "is left out" in add(client, folder, scan_id, corrected_only=True)[0]
    add(client, folder, scan_id, experiment="spring")
    client.correct(scan_id, saved(tmp_path / "mine.nii.gz", drawn(7)))
    add(client, folder, scan_id, experiment="spring")
    assert list(read_provenance(folder)) == ["labelled/images/fish.nii.gz"]
    assert not list((folder / "unlabelled/spring").iterdir())
    np.testing.assert_array_equal(voxels(folder / "labelled/images/fish.nii.gz"), grey(7))


def test_an_addition_that_was_cut_off_goes_on(client: Client, tmp_path: Path) -> None:
    """Files without a line in provenance.csv, and a line without a file, are completed; other content is refused."""
    scan_id, folder = corrected(client, tmp_path, "fish", 8), tmp_path / "raw"
    add(client, folder, scan_id)
    whole = content(folder)
    (folder / "provenance.csv").unlink()
    add(client, folder, scan_id)
    assert content(folder) == whole
    (folder / "labelled/images/fish.nii.gz").unlink()
    add(client, folder, scan_id)
    assert content(folder) == whole
    (folder / "provenance.csv").unlink()
    saved(folder / "labelled/labels/fish.nii.gz", drawn(88))
    with pytest.raises(DataSetError, match=r"labelled/labels/fish\.nii\.gz is there with other content"):
        add(client, folder, scan_id)


def test_scans_of_one_name_are_told_apart_by_their_ids(client: Client, tmp_path: Path) -> None:
    """Two of one call, and one that meets another's file, be it in another format."""
    first, second = corrected(client, tmp_path, "fish", 9), corrected(client, tmp_path, "fish", 10)
    folder = tmp_path / "raw"
    with pytest.raises(DataSetError, match=r"would both be labelled/images/fish\.nii\.gz; --with-id"):
        add(client, folder, first, second)
    add(client, folder, first)
    with pytest.raises(DataSetError, match=f"is of scan {first}; --with-id"):
        add(client, folder, second)
    add(client, folder, second, with_id=True)
    np.testing.assert_array_equal(voxels(folder / f"labelled/labels/fish_{second[:8]}.nii.gz"), drawn(10))
    with pytest.raises(DataSetError, match="is there already, as"):
        add(client, folder, second, first, with_id=True)


def test_organs_agree_by_their_names(client: Client, tmp_path: Path) -> None:
    """Numbers of the data set's own count; another name, a missing organ and 255 without its line are refused."""
    scan_id, folder = corrected(client, tmp_path, "fish", 11), tmp_path / "raw"
    one, two = client.segmentations(scan_id).organs.names
    folder.mkdir()
    for text, message in (
        (f"1: {one}\n2: kidney\n", f"its model knows {two}, which organs.yaml does not name"),
        (f"1: {one}\n2: {two}\n3: kidney\n", "organs.yaml names kidney, which its model does not know"),
    ):
        (folder / "organs.yaml").write_text(text)
        with pytest.raises(DataSetError, match=message):
            add(client, folder, scan_id)
    (folder / "organs.yaml").write_text(f"1: {two}\n2: {one}\n")
    add(client, folder, scan_id)
    turned = np.array([0, 2, 1], dtype=np.uint8)[drawn(11)]
    np.testing.assert_array_equal(voxels(folder / "labelled/labels/fish.nii.gz"), turned)
    part = drawn(11)
    part[4:] = 255
    client.correct(scan_id, saved(tmp_path / "part.nii.gz", part))
    with pytest.raises(DataSetError, match="by the line `255: not_labelled`"):
        add(client, folder, scan_id, update=True)
    add(client, tmp_path / "new", scan_id)
    assert OrganMap.from_yaml(tmp_path / "new/organs.yaml").not_labelled
    np.testing.assert_array_equal(voxels(tmp_path / "new/labelled/labels/fish.nii.gz"), part)


def test_refusals_are_one_line(server: RunningServer, tmp_path: Path) -> None:
    """An unknown scan, a file that is not there, no scan at all."""
    for command, message in (
        (("correct", "0" * 32, str(saved(tmp_path / "a.nii.gz", drawn(1)))), "no scan"),
        (("correct", "0" * 32, str(tmp_path / "b.nii.gz")), "b.nii.gz does not exist"),
        (("dataset", "add", str(tmp_path / "raw"), "--scans", "0" * 32), "no scan"),
        (("dataset", "add", str(tmp_path / "raw")), "no scan is named"),
    ):
        done = _ricefish(*command, "--server", server.url)
        assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "raw").exists()


def test_versions_are_fetched_by_number(client: Client, tmp_path: Path) -> None:
    """The client's download and organs: the latest, or the one that is named."""
    scan_id = corrected(client, tmp_path, "fish", 12)
    client.download(scan_id, tmp_path / "latest.nii.gz")
    client.download(scan_id, tmp_path / "model.nii.gz", version=0)
    np.testing.assert_array_equal(voxels(tmp_path / "latest.nii.gz"), drawn(12))
    assert (voxels(tmp_path / "model.nii.gz") != drawn(12)).any()
    assert [one.voxels for one in client.organs(scan_id)] == [np.count_nonzero(drawn(12) == i) for i in (1, 2)]
    model = voxels(tmp_path / "model.nii.gz")
    assert [one.voxels for one in client.organs(scan_id, version=0)] == [np.count_nonzero(model == i) for i in (1, 2)]
    with pytest.raises(RicefishError, match="has no version 9"):
        client.download(scan_id, tmp_path / "nine.nii.gz", version=9)
    client.image(scan_id, tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(voxels(tmp_path / "image.nii.gz"), grey(12))
