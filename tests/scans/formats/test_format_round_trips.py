"""Every format that is written gives back what went in, to Ricefish and to readers that know nothing of it."""

import hashlib
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from scipy.spatial.transform import Rotation

from scans.formats import WRITABLE, create_volume, open_volume
from scans.geometry import Frame, Spacing
from scans.organs import OrganMap

ORGANS = OrganMap.from_mapping({1: {"name": "heart", "colour": [255, 0, 51]}, 2: "left_eye"})
EXACT = {".nrrd", ".seg.nrrd", ".tif", ".tiff", ".h5", ".ome.zarr", ".ome.zarr.zip"}
"""Formats that hold an affine of 64-bit numbers; NIfTI's has 32 bits, MetaImage's is taken apart and put together."""

TYPES = ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "uint64", "float32"]


@st.composite
def frames(draw):
    steps = [draw(st.floats(1e-3, 50.0)) for _ in range(3)]
    turn = Rotation.from_euler("xyz", [draw(st.floats(-3.0, 3.0)) for _ in range(3)]).as_matrix()
    origin = tuple(draw(st.floats(-1e3, 1e3)) for _ in range(3))
    return Frame.from_lps(Spacing(*steps), origin, turn)


@st.composite
def arrays(draw, types):
    shape = tuple(draw(st.integers(1, 9)) for _ in range(3))
    dtype = np.dtype(draw(st.sampled_from(types)))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return random.integers(info.min, info.max, shape, dtype, endpoint=True)


def write(path, array, frame, *, cut=None, organs=None):
    with create_volume(path, shape=array.shape, dtype=array.dtype, frame=frame, organs=organs) as writer:
        writer.write(array[:cut])
        if cut is not None:
            writer.write(array[cut:])


def assert_read_back(path, array, frame, suffix):
    with open_volume(path) as volume:
        assert volume.shape == array.shape
        assert volume.dtype == array.dtype
        assert volume.dtype.isnative
        np.testing.assert_array_equal(volume.read(), array)
        if suffix in EXACT:
            assert volume.frame == frame
        else:
            np.testing.assert_allclose(volume.frame.matrix, frame.matrix, rtol=1e-6, atol=1e-4)
            np.testing.assert_allclose(list(volume.spacing), list(frame.spacing), rtol=1e-6)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITABLE if "zarr" not in suffix])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_voxels_type_and_place_come_back(suffix, data):
    """Any integer or float32 volume, however small, oblique and anisotropic, is read back as it was written."""
    array, frame = data.draw(arrays(TYPES)), data.draw(frames())
    cut = data.draw(st.integers(0, len(array)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fish" + suffix)
        write(path, array, frame, cut=cut)
        assert_read_back(path, array, frame, suffix)


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.zarr.zip"])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_voxels_type_and_place_come_back_from_zarr(suffix, data):
    """The same holds for OME-Zarr, as a folder and as one file."""
    array, frame = data.draw(arrays(TYPES)), data.draw(frames())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fish" + suffix)
        write(path, array, frame, cut=data.draw(st.integers(0, len(array))))
        assert_read_back(path, array, frame, suffix)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha"])
@settings(max_examples=15, deadline=None)
@given(array=arrays(TYPES), frame=frames())
def test_simpleitk_reads_the_same(suffix, array, frame):
    """SimpleITK finds the same voxels at the same place in every format of the medical world."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fish" + suffix)
        write(path, array, frame)
        image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    spacing = frame.spacing
    np.testing.assert_allclose(image.GetSpacing(), (spacing.x, spacing.y, spacing.z), rtol=1e-5)
    np.testing.assert_allclose(image.GetOrigin(), frame.origin, rtol=1e-5, atol=1e-3)
    # ITK may take the direction from NIfTI's quaternion, which is of single precision.
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), frame.direction, atol=2e-3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@settings(max_examples=10, deadline=None)
@given(array=arrays(["uint8", "int16", "float32"]), frame=frames(), packed=st.booleans())
def test_what_simpleitk_writes_is_read(suffix, array, frame, packed):
    """Files of SimpleITK, deflated or not, are read with their place."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((frame.spacing.x, frame.spacing.y, frame.spacing.z))
    image.SetOrigin(frame.origin)
    image.SetDirection(frame.direction.ravel())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fish" + suffix)
        sitk.WriteImage(image, str(path), packed)
        with open_volume(path) as volume:
            np.testing.assert_array_equal(volume.read(), array)
            np.testing.assert_allclose(volume.frame.matrix, frame.matrix, rtol=1e-4, atol=2e-3)


def segmentation():
    return np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6) % 3


FRAME = Frame.from_lps(Spacing(0.02, 0.01, 0.005), (1.0, 2.0, 3.0))


def test_slicer_finds_names_and_colours_in_a_seg_nrrd(tmp_path):
    """A .seg.nrrd names each segment, its value, its colour from 0 to 1, and one layer for all."""
    path = tmp_path / "fish.seg.nrrd"
    write(path, segmentation(), FRAME, organs=ORGANS)
    image = sitk.ReadImage(str(path))
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert fields["Segment0_Name"] == "heart"
    assert fields["Segment0_LabelValue"] == "1"
    assert fields["Segment0_ID"] == "Segment_1"
    assert fields["Segment0_Layer"] == "0"
    assert fields["Segment0_Color"] == "1 0 0.2"
    assert fields["Segment0_Extent"] == "0 5 0 4 0 3"
    assert fields["Segment1_Name"] == "left_eye"
    assert fields["Segment1_LabelValue"] == "2"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), segmentation())


def test_imagej_finds_the_voxel_size_in_a_tif(tmp_path):
    """A .tif is a stack of slices to ImageJ, with unit, distance between slices and pixels per mm."""
    path = tmp_path / "fish.tif"
    write(path, segmentation(), FRAME, organs=ORGANS)
    with tifffile.TiffFile(path) as tiff:
        assert not tiff.is_bigtiff
        assert tiff.series[0].axes == "ZYX"
        assert tiff.imagej_metadata["unit"] == "mm"
        assert tiff.imagej_metadata["spacing"] == 0.02
        assert tiff.imagej_metadata["label_1"] == "heart"
        assert tiff.pages[0].tags["XResolution"].value == (200, 1)
        assert tiff.pages[0].tags["YResolution"].value == (100, 1)
        np.testing.assert_array_equal(tiff.asarray(), segmentation())


def test_ilastik_finds_the_voxel_size_in_an_h5(tmp_path):
    """An .h5 has one data set with element_size_um, z, y, x."""
    path = tmp_path / "fish.h5"
    write(path, segmentation(), FRAME, organs=ORGANS)
    with h5py.File(path) as file:
        (data,) = file.values()
        np.testing.assert_array_equal(data[:], segmentation())
        np.testing.assert_allclose(data.attrs["element_size_um"], (20.0, 10.0, 5.0))


def test_ome_zarr_py_finds_pyramid_scale_and_colours(tmp_path):
    """ome-zarr-py reads the levels, each with its scale in mm, and the colours and names of the labels."""
    path = tmp_path / "fish.ome.zarr"
    array = (np.arange(5 * 300 * 7) % 3).astype(np.uint8).reshape(5, 300, 7)
    write(path, array, FRAME, cut=2, organs=ORGANS)
    (node, *_) = list(Reader(parse_url(path))())
    levels = [np.asarray(level) for level in node.data]
    assert [level.shape for level in levels] == [(5, 300, 7), (3, 150, 4), (2, 75, 2)]
    for step, level in zip((1, 2, 4), levels, strict=True):
        np.testing.assert_array_equal(level, array[::step, ::step, ::step])
    scales = [transforms[0]["scale"] for transforms in node.metadata["coordinateTransformations"]]
    np.testing.assert_allclose(scales, [[0.02, 0.01, 0.005], [0.04, 0.02, 0.01], [0.08, 0.04, 0.02]])
    assert node.metadata["axes"] == [{"name": n, "type": "space", "unit": "millimeter"} for n in "zyx"]
    np.testing.assert_allclose(node.metadata["color"][1], (1.0, 0.0, 0.2, 1.0))
    assert node.metadata["properties"][1]["name"] == "heart"
    files = [file for file in path.rglob("*") if file.is_file()]
    assert len(files) == 1 + 3 * 2  # the group, and for each level its metadata and one shard


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITABLE if suffix != ".ome.zarr"])
def test_bytes_depend_on_the_volume_alone(suffix, tmp_path):
    """Written twice, in slabs of other depths and under another name, a file is the same to the last byte."""
    hashes = set()
    for name, cut in (("a", 1), ("b", 3)):
        path = tmp_path / (name + suffix)
        write(path, segmentation(), FRAME, cut=cut, organs=ORGANS)
        hashes.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(hashes) == 1
