"""NIfTI: affines to the last bit, units, scaling, both versions, both byte orders, bounded memory."""

import gzip
import tempfile
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scans.formats import FormatError, SpacingMissing, create_volume, open_volume, verify
from scans.geometry import Frame, Spacing

VOXELS = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
"""x, y, z, as nibabel has it."""


def save(path, array=VOXELS, affine=None, **fields):
    image = nib.Nifti1Image(array, np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine)
    for name, value in fields.items():
        image.header[name] = value
    image.to_filename(path)
    if fields:
        patch(path, fields, image.header)
    return path


def patch(path, fields, header):
    """nibabel puts some fields right as it saves; this puts them as they were asked for."""
    content = bytearray(path.read_bytes() if path.suffix == ".nii" else gzip.decompress(path.read_bytes()))
    for name, value in fields.items():
        kind, offset = header.template_dtype.fields[name][:2]
        raw = np.asarray(value, kind.base).tobytes()
        content[offset : offset + len(raw)] = raw
    path.write_bytes(bytes(content) if path.suffix == ".nii" else gzip.compress(content))


def copy(source, target):
    with (
        open_volume(source) as volume,
        create_volume(target, shape=volume.shape, dtype=volume.dtype, frame=volume.frame) as writer,
    ):
        for _, slab in volume.slabs(1):
            writer.write(slab)
    return nib.load(target)


def affines():
    angles = st.tuples(*[st.floats(-3.0, 3.0, width=32)] * 3)
    numbers = st.tuples(*[st.floats(0.125, 8.0, width=32)] * 3, *[st.floats(-500.0, 500.0, width=32)] * 3)
    return st.builds(_affine, angles, numbers, st.booleans())


def _affine(angles, numbers, mirrored):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix() * numbers[:3]
    affine[:3, 3] = numbers[3:]
    if mirrored:
        affine[:, 0] *= -1
    return affine.astype(np.float32).astype(np.float64)


@settings(max_examples=30, deadline=None)
@given(affine=affines(), how=st.sampled_from(["sform", "qform", "both", "neither"]))
def test_the_affine_survives_bit_for_bit(affine, how):
    """However a file states its affine, nibabel reports the very same one for what is written back."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.nii"), Path(folder, "b.nii.gz")
        image = nib.Nifti1Image(VOXELS, None)
        image.header.set_sform(affine, code=2 if how in ("sform", "both") else 0)
        image.header.set_qform(affine, code=1 if how in ("qform", "both") else 0)
        image.header.set_xyzt_units("mm")
        nib.save(nib.Nifti1Image(VOXELS, None, image.header), source)
        before, after = nib.load(source), copy(source, target)
        np.testing.assert_array_equal(after.affine, before.affine)
        np.testing.assert_array_equal(after.dataobj, before.dataobj)


def test_sform_and_qform_are_both_set_and_agree(tmp_path):
    """A rigid affine is written both ways, so that readers that know only one find it."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix() * (0.01, 2, 30)
    turn[:3, 3] = (500.1, -300.2, 0.3)
    written = copy(save(tmp_path / "a.nii", affine=turn), tmp_path / "b.nii")
    sform, sform_code = written.get_sform(coded=True)
    qform, qform_code = written.get_qform(coded=True)
    assert (int(sform_code), int(qform_code)) == (2, 2)
    np.testing.assert_allclose(qform, sform, atol=1e-5)
    assert written.header.get_xyzt_units()[0] == "mm"


def test_a_skewed_affine_has_no_qform(tmp_path):
    """Gantry tilt cannot be told as a rotation: a qform would be a lie."""
    skewed = np.diag([1.0, 1.0, 2.0, 1.0])
    skewed[1, 2] = 0.5
    written = copy(save(tmp_path / "a.nii", affine=skewed), tmp_path / "b.nii")
    np.testing.assert_array_equal(written.affine, skewed)
    assert int(written.header["qform_code"]) == 0


@pytest.mark.parametrize(("unit", "factor"), [("micron", 0.001), ("meter", 1000.0), ("mm", 1.0), ("unknown", 1.0)])
def test_units_become_mm_at_the_same_place(unit, factor, tmp_path):
    """A file in micrometres or metres comes back in mm, where a reader that knows units already saw it."""
    image = nib.Nifti1Image(VOXELS, np.array([[2.0, 0, 0, 8], [0, 4, 0, 16], [0, 0, 8, 32], [0, 0, 0, 1]]))
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "a.nii")
    written = copy(tmp_path / "a.nii", tmp_path / "b.nii")
    np.testing.assert_allclose(written.affine, np.diag([factor] * 3 + [1.0]) @ image.affine, rtol=1e-6)
    before, after = (sitk.ReadImage(str(tmp_path / name)) for name in ("a.nii", "b.nii"))
    np.testing.assert_allclose(after.GetSpacing(), before.GetSpacing(), rtol=1e-6)


def test_voxel_sizes_alone_are_enough(tmp_path):
    """With neither sform nor qform the spacing is pixdim's."""
    path = save(tmp_path / "a.nii", sform_code=0, qform_code=0, pixdim=[1, 0.5, 2, 3, 0, 0, 0, 0])
    with open_volume(path) as volume:
        assert volume.spacing == Spacing(z=3.0, y=2.0, x=0.5)


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
