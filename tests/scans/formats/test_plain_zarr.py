"""Zarr without OME metadata: an array, or a group of them, of either version."""

import numpy as np
import pytest
import zarr

from scans.formats import FormatError, SpacingMissing, open_volume
from scans.geometry import Spacing

VOXELS = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
SPACING = Spacing(3.0, 2.0, 1.0)


def group_of(path, version=3, **arrays):
    group = zarr.create_group(path, zarr_format=version)
    for name, voxels in arrays.items():
        group.create_array(name.replace("__", "/"), data=voxels, chunks=tuple(min(3, n) for n in voxels.shape))
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["array", "group", "group in a group"])
@pytest.mark.parametrize("prefix", ["", "scan.zarr/"])
def test_a_zarr_without_ome_metadata_is_read(version, kind, prefix, tmp_path, zipped):
    """The array itself, or the only one of three axes, in a folder or a zip; its spacing has to be given."""
    path = tmp_path / "a.zarr"
    if kind == "array":
        zarr.create_array(path, data=VOXELS, chunks=(2, 3, 3), zarr_format=version)
    else:
        name = "raw" if kind == "group" else "day__raw"
        group_of(path, version, **{name: VOXELS, "angles": np.arange(9.0), "wide": VOXELS[0]})
    for place in (path, zipped(path, tmp_path / "a.zip", prefix)):
        with pytest.raises(SpacingMissing, match="a Zarr array without OME metadata states no voxel size"):
            open_volume(place).__enter__()
        with open_volume(place, spacing=SPACING) as volume:
            np.testing.assert_array_equal(volume.read(), VOXELS)
            assert volume.spacing == SPACING


def test_axes_of_size_one_are_dropped(tmp_path):
    """One time and one channel before z, y, x."""
    zarr.create_array(tmp_path / "a.zarr", data=VOXELS[None, None])
    with open_volume(tmp_path / "a.zarr", spacing=SPACING) as volume:
        np.testing.assert_array_equal(volume.slab(1, 3), VOXELS[1:3])


def test_one_of_several_arrays_can_be_named(tmp_path, zipped):
    """Those that there are are listed; a name that leads nowhere, or out of the Zarr, is refused."""
    path = group_of(tmp_path / "a.zarr", raw=VOXELS, filtered=VOXELS + 1, angles=np.arange(9.0))
    for place in (path, zipped(path, tmp_path / "a.zip", "a.zarr/")):
        with pytest.raises(
            FormatError, match=r"2 arrays of three axes: filtered 5 x 6 x 7 uint16, raw.*--dataset filtered on"
        ):
            open_volume(place, spacing=SPACING).__enter__()
        for name in ("raw", "/raw"):
            with open_volume(place, spacing=SPACING, dataset=name) as volume:
                np.testing.assert_array_equal(volume.read(), VOXELS)
        with pytest.raises(FormatError, match="a Zarr array of 1 axes: 9 float64"):
            open_volume(place, spacing=SPACING, dataset="angles").__enter__()
        for name in ("other", "../a.zarr/raw", ".", "raw/c"):
            with pytest.raises(FormatError, match=r"no array .*; accepted: the name of one in the Zarr: angles, filt"):
                open_volume(place, spacing=SPACING, dataset=name).__enter__()


def test_what_is_no_volume_is_named_by_its_layout(tmp_path):
    """No array of three axes, axes in another order, and a name for a Zarr that is one array."""
    with pytest.raises(FormatError, match="Zarr without OME metadata, 0 arrays of three axes: a 5 x 5 x 5 x 5 uint8"):
        open_volume(group_of(tmp_path / "a.zarr", a=np.zeros((5, 5, 5, 5), np.uint8))).__enter__()
    zarr.create_array(tmp_path / "b.zarr", data=VOXELS, dimension_names=("x", "y", "z"))
    with pytest.raises(FormatError, match="axes in the order x, y, z; accepted: axes in the order z, y, x"):
        open_volume(tmp_path / "b.zarr", spacing=SPACING).__enter__()
    old = zarr.create_array(tmp_path / "c.zarr", data=VOXELS, zarr_format=2)
    old.attrs["_ARRAY_DIMENSIONS"] = ["y", "x", "z"]
    with pytest.raises(FormatError, match="axes in the order y, x, z"):
        open_volume(tmp_path / "c.zarr", spacing=SPACING).__enter__()
    with pytest.raises(FormatError, match="no array 'raw' in a Zarr that is one array"):
        open_volume(tmp_path / "b.zarr", spacing=SPACING, dataset="raw").__enter__()


def test_slices_take_no_name(samples):
    """A name that would be passed over is refused."""
    with pytest.raises(FormatError, match="a data set is named, 'raw', in a folder or archive of files"):
        open_volume(samples["slices.zip"], spacing=SPACING, dataset="raw").__enter__()
