"""NIfTI: spacing, scaling, both versions, both byte orders, bounded memory."""

import tempfile
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scans.formats import FormatError, SpacingMissing, create_volume, open_volume, verify
from scans.geometry import Frame, Spacing
from tests.scans.formats.nifti_files import VOXELS, save


def test_voxel_sizes_alone_are_enough(tmp_path):
    """With neither sform nor qform the spacing is pixdim's, and a note says that no place is stated."""
    path = save(tmp_path / "a.nii", sform_code=0, qform_code=0, pixdim=[1, 0.5, 2, 3, 0, 0, 0, 0])
    with open_volume(path) as volume:
        assert volume.spacing == Spacing(z=3.0, y=2.0, x=0.5)
        assert [note.partition(",")[0] for note in volume.notes] == ["neither qform nor sform places the scan"]


@pytest.mark.parametrize("sizes", [[0, 0, 0], [1, 1, -2], [1, np.nan, 1], [1, np.inf, 1]])
def test_without_usable_voxel_sizes_the_spacing_is_asked_for(sizes, tmp_path):
    """Nonsense in pixdim is no spacing; one that is given is used."""
    path = save(tmp_path / "a.nii", sform_code=0, qform_code=0, pixdim=[1, *sizes, 0, 0, 0, 0])
    with pytest.raises(SpacingMissing, match=r"pixdim.*z,y,x in mm: --spacing"), open_volume(path):
        pass
    with open_volume(path, spacing=Spacing(3.0, 2.0, 1.0)) as volume:
        assert volume.spacing == Spacing(3.0, 2.0, 1.0)


def test_a_spacing_that_contradicts_the_file_is_refused(tmp_path):
    """Within 1 % the file's own is used; beyond, nobody can know which of the two is wrong."""
    path = save(tmp_path / "a.nii")
    with open_volume(path, spacing=Spacing(3.02, 2.0, 1.0)) as volume:
        assert volume.spacing == Spacing(3.0, 2.0, 1.0)
    with (
        pytest.raises(FormatError, match=r"3 x 2 x 1 mm.*given with it is 3\.1 x 2 x 1 mm"),
        open_volume(path, spacing=Spacing(3.1, 2.0, 1.0)),
    ):
        pass


def test_scaled_values_become_float32(tmp_path):
    """Grey value = stored x slope + intercept, as the header says: 2 x 3 - 1024 = -1018."""
    path = save(tmp_path / "a.nii", scl_slope=3.0, scl_inter=-1024.0)
    with open_volume(path) as volume:
        assert volume.dtype == np.float32
        assert volume.slab(0, 1)[0, 1, 0] == -1018.0
        np.testing.assert_array_equal(volume.read(), np.asarray(nib.load(path).dataobj).T)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf, 1.0])
def test_no_scaling_keeps_the_integers(slope, tmp_path):
    """A slope of 0, 1 or no number means the stored values."""
    with open_volume(save(tmp_path / "a.nii", scl_slope=slope, scl_inter=0.0)) as volume:
        assert volume.dtype == np.int16
        np.testing.assert_array_equal(volume.read(), VOXELS.T)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_of_either_version_and_byte_order(kind, order, dtype, tmp_path):
    """Voxels come out native and equal; float64 becomes float32."""
    image = kind(VOXELS.astype(order + dtype), np.eye(4), kind.header_class(endianness=order))
    image.set_data_dtype(dtype)
    image.to_filename(tmp_path / "a.nii")
    with open_volume(tmp_path / "a.nii") as volume:
        assert volume.dtype == np.dtype("f4" if dtype == "f8" else dtype)
        assert volume.read().dtype.isnative
        np.testing.assert_array_equal(volume.read(), VOXELS.T)


def test_an_axis_too_long_for_nifti_1_is_written_as_nifti_2(tmp_path):
    """NIfTI-1 counts to 32,767; longer axes need the second version."""
    long = np.zeros((2, 1, 32768), np.uint8)
    with create_volume(tmp_path / "a.nii", shape=long.shape, dtype="u1", frame=Frame.from_affine(np.eye(4))) as writer:
        writer.write(long)
    image = nib.load(tmp_path / "a.nii")
    assert isinstance(image, nib.Nifti2Image)
    assert image.shape == (32768, 1, 2)
    with open_volume(tmp_path / "a.nii") as volume:
        verify(volume)


def test_trailing_axes_of_size_one_are_dropped(tmp_path):
    """x, y, z, 1, 1 is one volume."""
    with open_volume(save(tmp_path / "a.nii", VOXELS[..., None, None])) as volume:
        assert volume.shape == (2, 3, 4)


@settings(max_examples=25, deadline=None)
@given(reads=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6))
def test_slabs_may_be_read_in_any_order(reads):
    """A compressed file gives the same slices however one jumps about in it."""
    array = np.arange(3 * 4 * 9, dtype=np.int32).reshape(3, 4, 9)
    with tempfile.TemporaryDirectory() as folder:
        nib.Nifti1Image(array, np.eye(4)).to_filename(Path(folder, "a.nii.gz"))
        with open_volume(Path(folder, "a.nii.gz")) as volume:
            for a, b in reads:
                np.testing.assert_array_equal(volume.slab(min(a, b), max(a, b)), array.T[min(a, b) : max(a, b)])


def test_threads_may_share_a_volume(tmp_path):
    """Slabs that are asked for at the same time do not mix, although the file is decoded in order."""
    array = np.random.default_rng(0).integers(0, 99, (40, 30, 64), np.uint8)
    nib.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "a.nii.gz")
    with open_volume(tmp_path / "a.nii.gz") as volume, ThreadPoolExecutor(8) as pool:
        starts = [(index * 29) % 60 for index in range(60)]
        slabs = list(pool.map(lambda start: volume.slab(start, start + 4), starts))
    for start, slab in zip(starts, slabs, strict=True):
        np.testing.assert_array_equal(slab, array.T[start : start + 4])


def test_memory_is_bounded_by_the_slab(tmp_path):
    """A compressed volume of 26 MB passes through in slabs of 1 MB with less than 8 MB in use, both ways."""
    shape = (200, 256, 256)
    frame = Frame.from_affine(np.eye(4))
    random = np.random.default_rng(0).integers(0, 20, (8, 256, 256), np.uint16)
    tracemalloc.start()
    try:
        with create_volume(tmp_path / "a.nii.gz", shape=shape, dtype=np.uint16, frame=frame) as writer:
            for _ in range(25):
                writer.write(random)
        with open_volume(tmp_path / "a.nii.gz") as volume:
            verify(volume, slab_slices=8)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_a_wrong_checksum_is_found_with_the_last_slice(tmp_path):
    """gzip's checksum is compared when the last slice is read, not before and not never."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 2), np.uint8)
    path = save(tmp_path / "a.nii.gz", noise)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with open_volume(path) as volume:
        volume.slab(0, 1)
        with pytest.raises(FormatError, match="CRC"):
            volume.slab(1, 2)


def test_a_small_file_cannot_announce_a_huge_volume(tmp_path):
    """A header of 30000 cubed voxels on a few bytes is found out when it is opened, without taking the memory."""
    for name in ("a.nii", "a.nii.gz"):
        path = save(tmp_path / name, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
        with (
            pytest.raises(FormatError, match=r"truncated: the header announces 54000000000352 bytes"),
            open_volume(path),
        ):
            pass


def test_a_decompression_bomb_behind_the_voxels_is_refused(tmp_path):
    """What follows the last voxel is not decoded without end."""
    path = save(tmp_path / "a.nii")
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(path.read_bytes() + bytes(50_000_000)) + packer.flush()
    (tmp_path / "a.nii.gz").write_bytes(bomb)
    with open_volume(tmp_path / "a.nii.gz") as volume, pytest.raises(FormatError, match="more data follows"):
        verify(volume)
