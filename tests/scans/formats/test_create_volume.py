"""Writing: nothing but a complete file ever has the final name, and what does not fit is refused."""

import numpy as np
import pytest

from scans.formats import DOWNLOADS, WRITABLE, create_volume, open_volume, stem
from scans.geometry import Frame, Spacing

FRAME = Frame.from_lps(Spacing(1.0, 1.0, 1.0))
SLAB = np.ones((2, 3, 4), np.uint8)


def create(path, **changes):
    arguments = {"shape": (4, 3, 4), "dtype": np.uint8, "frame": FRAME}
    return create_volume(path, **(arguments | changes))


def give_up(path):
    with create(path) as writer:
        writer.write(SLAB)
        raise RuntimeError("boom")


def write_two_slices(path):
    with create(path) as writer:
        writer.write(SLAB)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_a_volume_that_is_given_up_leaves_nothing(suffix, tmp_path):
    """When the work in between fails, neither the file nor a part of it stays."""
    with pytest.raises(RuntimeError, match="boom"):
        give_up(tmp_path / f"fish{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", WRITABLE)
def test_too_few_slices_are_an_error_and_leave_the_old_file(suffix, tmp_path):
    """A file that is there is replaced by a complete one only."""
    path = tmp_path / f"fish{suffix}"
    with create(path, shape=(2, 3, 4)) as writer:
        writer.write(SLAB)
    with pytest.raises(ValueError, match="2 slices were written of 4"):
        write_two_slices(path)
    with open_volume(path) as volume:
        assert volume.shape == (2, 3, 4)
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".nii.gz", ".ome.zarr"])
def test_a_complete_volume_replaces_the_old_one(suffix, tmp_path):
    """Writing to a name that is taken leaves the new volume there and nothing else."""
    path = tmp_path / f"fish{suffix}"
    for value in (1, 7):
        with create(path) as writer:
            writer.write(np.full((4, 3, 4), value, np.uint8))
    with open_volume(path) as volume:
        assert volume.read().max() == 7
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("slab", "message"),
    [
        (np.ones((5, 3, 4), np.uint8), "5 slices for a volume of 4"),
        (np.ones((1, 4, 3), np.uint8), r"shape \(1, 4, 3\)"),
        (np.ones((3, 4), np.uint8), r"shape \(3, 4\)"),
        (np.ones((1, 3, 4), np.int16), "a slab of int16; the volume holds uint8"),
    ],
)
def test_a_slab_that_does_not_fit_is_refused(slab, message, tmp_path):
    """Too many slices, another size and a type that would lose values are errors at once."""
    with pytest.raises(ValueError, match=message), create(tmp_path / "fish.nii") as writer:
        writer.write(slab)


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path):
    """The error lists the suffixes there are."""
    with pytest.raises(ValueError, match=r"fish\.png.*\.nii\.gz, .*\.ome\.zarr\.zip"), create(tmp_path / "fish.png"):
        pass


def test_complex_volumes_are_not_written(tmp_path):
    """Only integers and floating point numbers have a place in these formats."""
    with pytest.raises(ValueError, match="complex64"), create(tmp_path / "fish.nii", dtype=np.complex64):
        pass


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pt_2.nii.gz", "pt_2"),
        ("Fish.TIF", "Fish"),
        ("fish.3.seg.nrrd", "fish.3"),
        ("fish.ome.zarr.zip", "fish"),
        ("ct_series", "ct_series"),
        ("scan.ome.tif", "scan"),
        (".nii", ".nii"),
    ],
)
def test_stem_is_the_name_without_format(name, expected, tmp_path):
    """Double suffixes go as a whole, other dots stay."""
    assert stem(tmp_path / name) == expected


def test_every_download_format_can_be_written():
    """The formats that a server offers have a suffix that is written, but for DICOM of a series, and a media type."""
    assert {name: (one.suffixes[0], one.media_type) for name, one in DOWNLOADS.items()} == {
        "nii.gz": (".nii.gz", "application/gzip"),
        "nrrd": (".seg.nrrd", "application/octet-stream"),
        "tif": (".tif", "image/tiff"),
        "ome-zarr": (".ome.zarr.zip", "application/zip"),
        "dicom-seg": (".dcm", "application/dicom"),
    }
    assert {suffix for one in DOWNLOADS.values() for suffix in one.suffixes} - {".dcm"} <= set(WRITABLE)
