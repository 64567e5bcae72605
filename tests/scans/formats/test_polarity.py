"""Polarity: whatever a file says of it, high values are bright; masks and labels keep their meaning."""

import struct

import h5py
import numpy as np
import pytest
import tifffile

from scans.formats import open_volume
from scans.geometry import Spacing

GIVEN = Spacing(1.0, 1.0, 1.0)
RNG = np.random.default_rng(3)
SHAPE = (4, 9, 11)

TYPES = {
    "u1": lambda: RNG.integers(0, 256, SHAPE, np.uint8),
    "u2": lambda: RNG.integers(0, 1 << 16, SHAPE, np.uint16),
    "u4": lambda: RNG.integers(0, 1 << 32, SHAPE, np.uint32),
    "i1": lambda: RNG.integers(-128, 128, SHAPE, np.int8),
    "i2": lambda: RNG.integers(-(1 << 15), 1 << 15, SHAPE, np.int16),
    "f4": lambda: RNG.normal(0, 100, SHAPE).astype(np.float32),
}


def opposite(values, bits=None):
    """White is 0: in the same range, the other way round."""
    if values.dtype.kind == "f":
        return -values
    greatest = (1 << bits) - 1 if bits else np.iinfo(values.dtype).max
    return ((greatest if values.dtype.kind == "u" else -1) - values.astype(np.int64)).astype(values.dtype)


def grey(path, **options):
    with open_volume(path, spacing=GIVEN, **options) as volume:
        return volume.read()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"metadata": None}, {"tile": (16, 16)}])
def test_a_tiff_whose_white_is_0_is_inverted(kind, order, options, tmp_path):
    """In one block or page by page, packed or not, of either byte order and sign; it is said."""
    stored = TYPES[kind]()
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", byteorder=order, **options)
    np.testing.assert_array_equal(grey(tmp_path / "a.tif"), opposite(stored))
    with open_volume(tmp_path / "a.tif", spacing=GIVEN) as volume:
        np.testing.assert_array_equal(volume.slab(2, 3), opposite(stored[2:3]))
        assert volume.dtype == stored.dtype
        assert len(volume.notes) == 1
        assert "low values are bright in the file (PhotometricInterpretation)" in volume.notes[0]
    with open_volume(tmp_path / "a.tif", spacing=GIVEN, labels=True) as volume:
        np.testing.assert_array_equal(volume.read(), stored)
        assert volume.notes == ()


@pytest.mark.parametrize("folder", [False, True])
def test_a_tiff_that_says_nothing_of_its_white_is_as_it_is(folder, tmp_path):
    """Some writers leave PhotometricInterpretation out; nobody means white by 0 without saying so."""
    voxels = TYPES["u2"]()
    for index, part in enumerate(voxels[:, np.newaxis] if folder else [voxels]):
        path = tmp_path / f"{index}.tif"
        tifffile.imwrite(path, part, photometric="minisblack", metadata=None)
        stated, other = (struct.pack("<HHIHH", tag, 3, 1, 1, 0) for tag in (262, 263))
        content = path.read_bytes()
        assert stated in content
        path.write_bytes(content.replace(stated, other))
    np.testing.assert_array_equal(grey(tmp_path if folder else path), voxels)


@pytest.mark.parametrize("imagej", [{"imagej": True}, {"ome": True}])
def test_imagej_and_ome_files_are_no_exception(imagej, tmp_path):
    """ImageJ notes an inverting look-up table so."""
    stored = TYPES["u2"]()
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", metadata={"axes": "ZYX"}, **imagej)
    np.testing.assert_array_equal(grey(tmp_path / "a.tif"), opposite(stored))


def test_a_folder_of_slices_is_inverted_slice_by_slice(tmp_path):
    """Each file says of itself what its 0 is."""
    bright = TYPES["u2"]()
    for index, plane in enumerate(bright):
        low = index % 2 == 0
        options = {"photometric": "miniswhite" if low else "minisblack"}
        tifffile.imwrite(tmp_path / f"slice_{index}.tif", opposite(plane) if low else plane, **options)
    np.testing.assert_array_equal(grey(tmp_path), bright)
    np.testing.assert_array_equal(grey(tmp_path, labels=True)[::2], opposite(bright[::2]))
    with open_volume(tmp_path, spacing=GIVEN) as volume:
        assert "low values are bright in the file (PhotometricInterpretation)" in volume.notes[0]


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_mask_of_one_bit_keeps_its_meaning(labels, whole, tmp_path):
    """White is the object, whichever bit stands for it, in a scan and in labels, in one file and in many."""
    mask = RNG.random(SHAPE) < 0.3
    if whole:
        tifffile.imwrite(tmp_path / "a.tif", ~mask, photometric="miniswhite")
        path = tmp_path / "a.tif"
    else:
        path = tmp_path / "slices"
        path.mkdir()
        for index, plane in enumerate(mask):
            tifffile.imwrite(path / f"{index}.tif", ~plane, photometric="miniswhite")
    np.testing.assert_array_equal(grey(path, labels=labels), mask)


def test_numbers_of_classes_are_never_inverted(tmp_path):
    """A label image that a program saved with white as 0 has the classes that it had."""
    classes = RNG.integers(0, 4, SHAPE, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", classes, photometric="miniswhite")
    np.testing.assert_array_equal(grey(tmp_path / "a.tif", labels=True), classes)


def test_a_palette_of_greys_that_get_darker_is_inverted_and_a_coloured_one_is_not(tmp_path):
    """A look-up table that inverts is a polarity; one in colours shows labels, or grey values as it likes."""
    stored = TYPES["u1"]()
    ramp = np.linspace(65535, 0, 256).astype(np.uint16)
    tifffile.imwrite(tmp_path / "dark.tif", stored, photometric="palette", colormap=np.stack([ramp] * 3))
    np.testing.assert_array_equal(grey(tmp_path / "dark.tif"), opposite(stored))
    tifffile.imwrite(tmp_path / "light.tif", stored, photometric="palette", colormap=np.stack([ramp[::-1]] * 3))
    np.testing.assert_array_equal(grey(tmp_path / "light.tif"), stored)
    coloured = np.stack([ramp, ramp[::-1], ramp])
    tifffile.imwrite(tmp_path / "fire.tif", stored, photometric="palette", colormap=coloured)
    np.testing.assert_array_equal(grey(tmp_path / "fire.tif"), stored)


def test_an_hdf5_image_whose_white_is_zero_is_inverted(tmp_path):
    """As HDF5's specification of images has it."""
    stored = TYPES["u2"]()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scan"] = stored
        file["scan"].attrs["IMAGE_WHITE_IS_ZERO"] = np.uint8(1)
    np.testing.assert_array_equal(grey(tmp_path / "a.h5"), opposite(stored))
    np.testing.assert_array_equal(grey(tmp_path / "a.h5", labels=True), stored)


@pytest.mark.parametrize(("bits", "signed"), [(16, False), (12, False), (8, False), (16, True), (12, True)])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (0.5, 10)])
def test_monochrome1_is_inverted_within_its_bits(bits, signed, slope, intercept, tmp_path, dicom_slice):
    """Before or after the rescaling is the same: the range that BitsStored and the sign give is turned round."""
    least, greatest = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    stored = RNG.integers(least, greatest + 1, (3, 5, 6)).astype(np.int16 if signed else np.uint16)
    for index, plane in enumerate(stored):
        changes = {"BitsStored": bits, "HighBit": bits - 1, "RescaleSlope": slope, "RescaleIntercept": intercept}
        place = {"ImagePositionPatient": [0, 0, 2.0 * index], "PhotometricInterpretation": "MONOCHROME1"}
        dicom_slice(tmp_path / f"{index}.dcm", plane, **changes, **place)
    expected = (least + greatest - stored.astype(np.int64)) * slope + intercept
    with open_volume(tmp_path) as volume:
        np.testing.assert_array_equal(volume.read(), expected)
        assert "low values are bright in the file (MONOCHROME1)" in volume.notes[0]
    with open_volume(tmp_path, labels=True) as volume:
        np.testing.assert_array_equal(volume.read(), stored.astype(np.int64) * slope + intercept)


def test_monochrome1_among_others_is_inverted_slice_by_slice(tmp_path, dicom_slice):
    """Each slice says of itself what its 0 is."""
    bright = RNG.integers(0, 1 << 16, (4, 5, 6)).astype(np.uint16)
    for index, plane in enumerate(bright):
        low = index in (1, 3)
        kind = {"PhotometricInterpretation": "MONOCHROME1 " if low else "MONOCHROME2"}
        dicom_slice(
            tmp_path / f"{index}.dcm", opposite(plane) if low else plane, ImagePositionPatient=[0, 0, index], **kind
        )
    with open_volume(tmp_path) as volume:
        np.testing.assert_array_equal(volume.read(), bright)


@pytest.mark.parametrize("bits", [4, 10, 12])
def test_packed_bits_are_inverted_within_their_own_range(bits, tmp_path):
    """White is 0 and black is 4095 in 12 bits."""
    stored = RNG.integers(0, 1 << bits, SHAPE, np.uint16 if bits > 8 else np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", bitspersample=bits)
    np.testing.assert_array_equal(grey(tmp_path / "a.tif"), opposite(stored, bits))
