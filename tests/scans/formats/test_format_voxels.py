"""What each format does with volumes that are not one real number per voxel on three axes."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
import tifffile
import zarr

from scans.formats import FormatError, open_volume, verify
from scans.geometry import Spacing

SHAPE = (4, 5, 6)


def nifti(path, array):
    nib.Nifti1Image(array.T, np.eye(4)).to_filename(path)


def nrrd(path, array):
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def hdf5(path, array):
    with h5py.File(path, "w") as file:
        file.create_dataset("scan", data=array).attrs["element_size_um"] = (1.0, 1.0, 1.0)


def tiff(path, array):
    tifffile.imwrite(path, array, photometric="minisblack", compression="zlib")


def ome_zarr(path, array, names="zyx"):
    group = zarr.create_group(path, zarr_format=3)
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": n, "type": kinds.get(n, "space"), "unit": "millimeter"} for n in names]
    scale = {"type": "scale", "scale": [1.0] * array.ndim}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    group.create_array("0", data=array)


SAVE = {".nii": nifti, ".nii.gz": nifti, ".nrrd": nrrd, ".mha": nrrd, ".h5": hdf5, ".tif": tiff, ".zarr": ome_zarr}
GIVEN = {".tif": Spacing(1.0, 1.0, 1.0)}


def open_saved(path, suffix):
    return open_volume(path, spacing=GIVEN.get(suffix))


@pytest.mark.parametrize("suffix", SAVE)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_not_finite_is_found_in_its_slab(suffix, value, tmp_path):
    """The slabs before are read; the one with the voxel names the slice."""
    array = np.zeros(SHAPE, np.float32)
    array[2, 1, 1] = value
    path = tmp_path / f"fish{suffix}"
    SAVE[suffix](path, array)
    with open_saved(path, suffix) as volume:
        assert volume.slab(0, 2).max() == 0
        with pytest.raises(FormatError, match=r"slice 2 holds 1 voxels that are NaN, infinite"):
            volume.slab(1, 4)


@pytest.mark.parametrize("suffix", [".nii", ".h5", ".zarr"])
def test_float64_beyond_float32_is_refused(suffix, tmp_path):
    """float64 becomes float32; 1e300 would become infinite, without a word."""
    path = tmp_path / f"fish{suffix}"
    SAVE[suffix](path, np.full(SHAPE, 1e300))
    with open_saved(path, suffix) as volume:
        assert volume.dtype == np.float32
        with pytest.raises(FormatError, match="slice 0 holds 30 voxels"):
            verify(volume)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".h5", ".zarr", ".tif"])
def test_complex_volumes_are_refused(suffix, tmp_path):
    """A complex number is not a grey value."""
    path = tmp_path / f"fish{suffix}"
    SAVE[suffix](path, np.zeros(SHAPE, np.complex64))
    with pytest.raises(FormatError, match=r"complex.*one real number per voxel"), open_saved(path, suffix):
        pass


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_true_and_false_become_one_and_zero(suffix, tmp_path):
    """bool is read as uint8."""
    path = tmp_path / f"fish{suffix}"
    array = np.arange(120).reshape(SHAPE) % 2 == 0
    SAVE[suffix](path, array)
    with open_saved(path, suffix) as volume:
        assert volume.dtype == np.uint8
        np.testing.assert_array_equal(volume.read(), array.astype(np.uint8))


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha", ".h5"])
def test_a_fourth_axis_is_refused_with_its_size(suffix, tmp_path):
    """Four axes longer than 1 are no volume; the message gives them."""
    path = tmp_path / f"fish{suffix}"
    array = np.zeros((3, *SHAPE), np.int16)
    if suffix in (".nrrd", ".mha"):
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(path))
    else:
        SAVE[suffix](path, array)
    with pytest.raises(FormatError, match=r"3.*one volume of three axes|3 x 4 x 5 x 6"), open_saved(path, suffix):
        pass


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_colour_is_refused(suffix, tmp_path):
    """Three values in each voxel are not a grey value."""
    path = tmp_path / f"fish{suffix}"
    image = sitk.GetImageFromArray(np.zeros((*SHAPE, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(path))
    with pytest.raises(FormatError, match=r"RGB|R, G, B|vector|channels 3|5 axes"), open_saved(path, suffix):
        pass


@pytest.mark.parametrize(
    ("names", "shape", "message"),
    [("czyx", (2, 4, 5, 6), "c 2, z 4, y 5, x 6"), ("tzyx", (3, 4, 5, 6), "t 3, z 4, y 5, x 6"), ("yx", (5, 6), "y 5")],
)
def test_channels_and_times_in_ome_zarr_are_named(names, shape, message, tmp_path):
    """The axes are told by name and size."""
    ome_zarr(tmp_path / "a.zarr", np.zeros(shape, np.uint8), names)
    with pytest.raises(FormatError, match=message), open_volume(tmp_path / "a.zarr"):
        pass


def test_axes_of_size_one_in_ome_zarr_are_dropped(tmp_path):
    """t and c of size 1, as Bio-Formats writes them, do no harm."""
    array = np.arange(120, dtype=np.uint8).reshape(1, 1, *SHAPE)
    ome_zarr(tmp_path / "a.zarr", array, "tczyx")
    with open_volume(tmp_path / "a.zarr") as volume:
        np.testing.assert_array_equal(volume.slab(1, 3), array[0, 0, 1:3])


def test_empty_axes_are_refused(tmp_path):
    """A volume without voxels is no volume."""
    hdf5(tmp_path / "a.h5", np.zeros((0, 5, 6), np.uint8))
    ome_zarr(tmp_path / "a.zarr", np.zeros((4, 0, 6), np.uint8))
    for name in ("a.h5", "a.zarr"):
        with pytest.raises(FormatError, match="empty"), open_volume(tmp_path / name):
            pass


def test_structured_and_text_types_are_refused(tmp_path):
    """HDF5 can hold anything; grey values are asked for."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("scan", data=np.zeros(SHAPE, [("real", "f4"), ("weight", "f4")]))
    with pytest.raises(FormatError, match=r"2 values \(real, weight\)"), open_volume(tmp_path / "a.h5"):
        pass
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("scan", SHAPE, h5py.string_dtype())
    with pytest.raises(FormatError, match="type object"), open_volume(tmp_path / "b.h5"):
        pass
