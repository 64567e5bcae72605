"""Which scans are meant: files, folders, patterns, ids; how fish are told apart; what names their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from ricefish.atlas.label_volume import open_label_volume
from ricefish.atlas.sources import NoSuchScan, find_sources
from scans.formats import FormatError, SpacingMissing, create_volume
from scans.formats.label_names import itk_snap_labels
from scans.geometry import Frame, Spacing
from scans.organs import OrganMap
from scans.volume import Volume
from tests.ricefish.atlas.made_fish import save

ID, OTHER_ID = "0123456789abcdef" * 2, "fedcba9876543210" * 2
ORGANS = OrganMap.from_mapping({1: "heart", 2: "brain"})
LABELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3
VOLUME = Volume.from_array(LABELS, Spacing(0.3, 0.2, 0.1))


def found(*given: Path | str, filename: str = "fish_9.tif") -> list[tuple[str, str]]:
    sources = find_sources([str(one) for one in given], filename_of=lambda _: filename)
    return [(source.name, source.shown) for source in sources]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_hold_the_volumes_in_them(tmp_path: Path) -> None:
    """Files of known formats and Zarr folders, in folders in it too, as a batch leaves them; no descriptions, pictures
    or hidden files.
    """
    touch(tmp_path / "b.nii.gz", tmp_path / "a.seg.nrrd", tmp_path / "c.ome.zarr/zarr.json")
    touch(tmp_path / "b_labels.txt", tmp_path / ".d.nii", tmp_path / "deep/e.nii", tmp_path / "a.png")
    assert [name for name, _ in found(tmp_path)] == ["a", "b", "c", "e"]
    assert found(tmp_path / "c.ome.zarr") == [("c", str(tmp_path / "c.ome.zarr"))]


def test_a_folder_of_slices_is_one_volume(tmp_path: Path) -> None:
    """Of DICOM, PNG or BMP, and of TIFF with a page in each file; of TIFF stacks each is a volume."""
    touch(tmp_path / "series/1.dcm", tmp_path / "series/2.dcm")
    for number in (1, 2):
        for kind, pages in (("stacks", LABELS), ("slices", LABELS[0])):
            (tmp_path / kind).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / f"{kind}/{number}.tif", pages, photometric="minisblack")
    assert [name for name, _ in found(tmp_path / "series", tmp_path / "slices")] == ["series", "slices"]
    assert [name for name, _ in found(tmp_path / "stacks")] == ["1", "2"]
    touch(tmp_path / "torn/1.tif", tmp_path / "torn/2.tif")
    assert [name for name, _ in found(tmp_path / "torn")] == ["1", "2"]
    with open_label_volume(tmp_path / "slices", organs=ORGANS, spacing=Spacing(0.3, 0.2, 0.1)) as (labels, _):
        np.testing.assert_array_equal(labels.read(), [LABELS[0], LABELS[0]])


def test_patterns_files_and_ids_each_once(tmp_path: Path) -> None:
    """In the order in which they are named; a scan on the server is called as its file was."""
    touch(tmp_path / "1/fish_1.nii", tmp_path / "2/fish_2.nii")
    given = found(tmp_path / "2/fish_2.nii", tmp_path / "*/*.nii", ID)
    assert given == [
        ("fish_2", str(tmp_path / "2/fish_2.nii")),
        ("fish_1", str(tmp_path / "1/fish_1.nii")),
        ("fish_9", ID),
    ]
    assert found(ID, filename="") == [(ID, ID)]


def test_fish_of_one_name_are_told_apart_by_their_folders_or_ids(tmp_path: Path) -> None:
    """organs.nii.gz in a folder for each fish, and two scans of one file; as many folders as it takes, and where none
    helps, it is an error.
    """
    touch(tmp_path / "fish_1/organs.nii.gz", tmp_path / "fish_2/organs.nii.gz", tmp_path / "x/fish_1/organs.nii.gz")
    assert [name for name, _ in found(tmp_path / "fish_1", tmp_path / "fish_2", ID, OTHER_ID)] == [
        *("fish_1/organs", "fish_2/organs", "fish_9 (01234567)", "fish_9 (fedcba98)"),
    ]
    deeper = [name for name, _ in found(tmp_path / "fish_1", tmp_path / "fish_2", tmp_path / "x")]
    assert deeper == [f"{tmp_path.name}/fish_1/organs", "fish_2/organs", "x/fish_1/organs"]
    touch(tmp_path / "fish_1/organs.tif")
    with pytest.raises(NoSuchScan, match=r"have the same name, in the same folder: .*fish_1/organs\.nii\.gz"):
        found(tmp_path / "fish_1")


def test_everything_that_is_no_scan_is_told_at_once(tmp_path: Path) -> None:
    """A path that is not there, a pattern that nothing fits, a folder without volumes."""
    touch(tmp_path / "empty/notes.txt")
    with pytest.raises(NoSuchScan) as raised:
        found(tmp_path / "gone.nii", tmp_path / "*.nrrd", tmp_path / "empty")
    for words in ("gone.nii does not exist", "no file is called", "empty: no label volume in this folder"):
        assert words in str(raised.value)


def test_names_are_those_of_the_file_of_one_beside_it_or_of_the_option(tmp_path: Path) -> None:
    """What is given counts first, then the description of ITK-SNAP; where nothing names the labels, that is told."""
    path = save(tmp_path / "fish.nii.gz", VOLUME, ORGANS)
    with open_label_volume(path) as (labels, organs):
        assert organs.names == ("heart", "brain")
        np.testing.assert_array_equal(labels.read(), LABELS)
    (tmp_path / "fish_labels.txt").write_text(itk_snap_labels(OrganMap.from_mapping({1: "liver", 2: "gut"})))
    with open_label_volume(path) as (_, organs):
        assert organs.names == ("liver", "gut")
    with open_label_volume(path, organs=ORGANS) as (_, organs):
        assert organs.names == ("heart", "brain")
    with (
        pytest.raises(FormatError, match=r"grey\.nii: nothing says which organs .* or --organs organs\.yaml"),
        open_label_volume(save(tmp_path / "grey.nii", VOLUME, None)),
    ):
        pass


def test_whole_numbers_of_any_type_are_labels_and_grey_values_are_none(tmp_path: Path) -> None:
    """Floating point from other programs is read as it is meant; a scan that was named by mistake is told as one."""
    for value, name in ((2.0, "labels.nii"), (1043.0, "scan.nii"), (0.5, "half.nii")):
        with create_volume(tmp_path / name, shape=(1, 1, 2), dtype=np.float32, frame=VOLUME.frame) as writer:
            writer.write(np.array([[[0.0, value]]], np.float32))
    with open_label_volume(tmp_path / "labels.nii", organs=ORGANS) as (labels, _):
        assert labels.read().tolist() == [[[0, 2]]]
        assert labels.dtype == labels.read().dtype == np.uint8
    for name, value in (("scan.nii", "1043"), ("half.nii", "0.5")):
        with (
            open_label_volume(tmp_path / name, organs=ORGANS) as (labels, _),
            pytest.raises(FormatError, match=f"holds {value}, as a scan does"),
        ):
            labels.read()


def test_segments_of_slicer_and_files_without_spacing(tmp_path: Path) -> None:
    """A .seg.nrrd gives its own names; a TIFF without spacing wants one, and has it by the option."""
    with open_label_volume(save(tmp_path / "fish.seg.nrrd", VOLUME, ORGANS)) as (labels, organs):
        assert organs.names == ("heart", "brain")
        np.testing.assert_array_equal(labels.read(), LABELS)
    tifffile.imwrite(tmp_path / "bare.tif", LABELS, photometric="minisblack")
    with pytest.raises(SpacingMissing), open_label_volume(tmp_path / "bare.tif", organs=ORGANS):
        pass
    spacing = Spacing(0.3, 0.2, 0.1)
    with open_label_volume(tmp_path / "bare.tif", organs=ORGANS, spacing=spacing) as (labels, _):
        assert labels.frame == Frame.from_lps(spacing)


def test_an_ome_zarr_with_its_scan_is_read_for_its_labels(tmp_path: Path) -> None:
    """As `ricefish segment --with-scan` writes it: the scan, and below labels/segmentation the organs."""
    save(tmp_path / "fish.ome.zarr", VOLUME, None)
    save(tmp_path / "organs.ome.zarr", VOLUME, ORGANS)
    (tmp_path / "fish.ome.zarr/labels").mkdir()
    (tmp_path / "organs.ome.zarr").rename(tmp_path / "fish.ome.zarr/labels/segmentation")
    with open_label_volume(tmp_path / "fish.ome.zarr") as (labels, organs):
        assert organs.names == ("heart", "brain")
        np.testing.assert_array_equal(labels.read(), LABELS)
