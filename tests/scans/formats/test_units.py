"""Units of length: every spelling in every format, axis by axis, those that say nothing, those that results keep."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
import tifffile
import zarr

from scans.formats import SpacingMissing, create_volume, open_volume
from scans.geometry import Spacing

VOXELS = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
GIVEN = Spacing(3.0, 2.0, 1.0)

SPELLED = {
    1.0: ("mm", "MM", "millimeter", "millimeters", "Millimetres", " mm "),
    1e-3: (
        "um", "µm", "\u03bcm", "\u00b5m", "\\u00B5m", "&#181;m", "Âµm", "micron", "microns", "Microns", "micrometer",
        "micrometers", "micrometre", "micrometres", "MICROMETERS",
    ),
    1e-6: ("nm", "nanometers", "nanometre"),
    10.0: ("cm", "centimeters"),
    1e3: ("m", "metres"),
    25.4: ("in", "inch", "inches"),
}  # fmt: skip
SAY_NOTHING = ("", " ", "pixel", "pixels", "Pixel", "px", "voxel", "voxels", "none", "unknown", "?", "furlong")


def nrrd(path, units, steps=(1, 2, 3), *, key="spacings"):
    """Sizes and units in the order x, y, z."""
    named = " ".join(f'"{unit}"' for unit in units)
    header = "NRRD0004\ntype: uint16\ndimension: 3\nsizes: 5 4 3\nencoding: raw\nendian: little\n"
    if key == "spacings":
        header += f"spacings: {steps[0]} {steps[1]} {steps[2]}\nunits: {named}\n\n"
    else:
        header += f"space dimension: 3\nspace directions: ({steps[0]},0,0) (0,{steps[1]},0) (0,0,{steps[2]})\n"
        header += f"space origin: (10,20,30)\nspace units: {named}\n\n"
    path.write_bytes(header.encode() + VOXELS.tobytes())
    return path


def nrrd_directions(path, units, steps=(1, 2, 3)):
    return nrrd(path, units, steps, key="space directions")


def metaimage(path, units, steps=(1, 2, 3)):
    header = "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_USHORT\nOffset = 10 20 30\n"
    header += f"ElementSpacing = {steps[0]} {steps[1]} {steps[2]}\nDistanceUnits = {units[0]}\n"
    path.write_bytes(header.encode() + b"ElementDataFile = LOCAL\n" + VOXELS.tobytes())
    return path


def imagej(path, units, steps=(1, 2, 3)):
    """As ImageJ has it: the unit of x, and those of y and z where they are others."""
    described = f"ImageJ=1.53t\nimages=3\nslices=3\nunit={units[0]}\nspacing={float(steps[2])}\nloop=false\n"
    described += "".join(f"{axis}unit={unit}\n" for axis, unit in zip("yz", units[1:], strict=True) if unit != units[0])
    with tifffile.TiffWriter(path) as tiff:
        for index, plane in enumerate(VOXELS):
            tiff.write(
                plane,
                description=described.encode() if not index else None,
                metadata=None,
                resolution=(1 / steps[0] if steps[0] else 0, 1 / steps[1] if steps[1] else 0),
                resolutionunit="NONE",
            )
    return path


def ome_tiff(path, units, steps=(1, 2, 3)):
    sizes = {f"PhysicalSize{axis}": step for axis, step in zip("XYZ", steps, strict=True)}
    named = {f"PhysicalSize{axis}Unit": unit for axis, unit in zip("XYZ", units, strict=True)}
    tifffile.imwrite(path, VOXELS, photometric="minisblack", ome=True, metadata={"axes": "ZYX", **sizes, **named})
    return path


def hdf5(path, units, steps=(1, 2, 3)):
    with h5py.File(path, "w") as file:
        file["scan"] = VOXELS
        file["scan"].attrs["element_size"] = steps[::-1]
        file["scan"].attrs["units"] = list(units[::-1])
    return path


def ome_zarr(path, units, steps=(1, 2, 3)):
    group = zarr.create_group(path, zarr_format=2)
    axes = [{"name": name, "type": "space", "unit": unit} for name, unit in zip("zyx", units[::-1], strict=True)]
    scale = [{"type": "scale", "scale": [float(step) for step in steps[::-1]]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group.create_array("0", data=VOXELS)
    return path


SAVERS = {
    "spacings.nrrd": nrrd,
    "directions.nrrd": nrrd_directions,
    "a.mha": metaimage,
    "imagej.tif": imagej,
    "ome.tif": ome_tiff,
    "a.h5": hdf5,
    "a.zarr": ome_zarr,
}
PER_AXIS = sorted(set(SAVERS) - {"a.mha"})


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize(("factor", "unit"), [(factor, unit) for factor, names in SPELLED.items() for unit in names])
def test_a_unit_is_known_however_it_is_spelt(name, factor, unit, tmp_path):
    """1, 2 and 3 of any unit along x, y and z, in mm."""
    if name == "ome.tif" and "&" in unit:
        unit = "µm"  # which is what such a file then holds
    with open_volume(SAVERS[name](tmp_path / name, [unit] * 3)) as volume:
        np.testing.assert_allclose(list(volume.spacing), (3 * factor, 2 * factor, factor))
        np.testing.assert_array_equal(volume.read(), VOXELS)


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize("unit", SAY_NOTHING)
def test_a_unit_that_says_nothing_is_no_spacing(name, unit, tmp_path):
    """The message says which unit; a spacing that is given with the file cures it."""
    path = SAVERS[name](tmp_path / name, [unit] * 3)
    with pytest.raises(SpacingMissing) as caught, open_volume(path):
        pass
    assert f"lengths in {unit.strip()!r}" in caught.value.found or not unit.strip()
    assert "z,y,x in mm" in caught.value.accepted
    with open_volume(path, spacing=GIVEN) as volume:
        assert volume.spacing == GIVEN


@pytest.mark.parametrize("name", PER_AXIS)
def test_each_axis_has_its_own_unit(name, tmp_path):
    """Micrometres in the plane and mm between slices are read so; one axis in pixels leaves the whole unknown."""
    with open_volume(SAVERS[name](tmp_path / name, ["um", "nm", "mm"], (50, 40, 3))) as volume:
        np.testing.assert_allclose(list(volume.spacing), (3, 40e-6, 0.05), rtol=1e-6)
    path = SAVERS[name](tmp_path / f"pixels_{name}", ["um", "um", "pixel"])
    with pytest.raises(SpacingMissing, match="'pixel'"), open_volume(path):
        pass


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize("steps", [(0, 0, 0), (1, 1, 0), (0, 1, 1)])
def test_a_spacing_of_0_is_none(name, steps, tmp_path):
    """A voxel has a size; 0 stands where it was not known, and a spacing that is given is used."""
    path = SAVERS[name](tmp_path / name, ["mm"] * 3, steps)
    with pytest.raises(SpacingMissing, match="z,y,x in mm"), open_volume(path):
        pass
    with open_volume(path, spacing=GIVEN) as volume:
        assert volume.spacing == GIVEN


def test_dicom_with_a_pixel_spacing_of_0_has_none(tmp_path, dicom_slice):
    """As in the other formats."""
    (tmp_path / "ct").mkdir()
    for index in range(3):
        place = {"ImagePositionPatient": [0, 0, 2 * index], "PixelSpacing": [0, 0]}
        dicom_slice(tmp_path / "ct" / f"{index}.dcm", VOXELS[index], **place)
    with pytest.raises(SpacingMissing, match="PixelSpacing 0, 0"), open_volume(tmp_path / "ct"):
        pass
    with open_volume(tmp_path / "ct", spacing=Spacing(2.0, 1.0, 1.0)) as volume:
        assert volume.spacing == Spacing(2.0, 1.0, 1.0)


def test_a_unit_number_that_nifti_does_not_have_is_no_spacing(tmp_path):
    """0 is mm everywhere in practice; 5 is a damaged header, or another format's number."""
    image = nib.Nifti1Image(VOXELS.T, np.eye(4))
    image.header["xyzt_units"] = 5
    image.to_filename(tmp_path / "a.nii")
    with pytest.raises(SpacingMissing, match="number 5"), open_volume(tmp_path / "a.nii"):
        pass
    with open_volume(tmp_path / "a.nii", spacing=GIVEN) as volume:
        assert volume.spacing == GIVEN


def test_one_unit_of_a_nrrd_counts_for_all_axes(tmp_path):
    """Some writers name it once."""
    with open_volume(nrrd(tmp_path / "a.nrrd", ["um"], (1, 2, 3))) as volume:
        np.testing.assert_allclose(list(volume.spacing), (3e-3, 2e-3, 1e-3))


def result(source, path):
    """A segmentation of the scan, as a server writes it."""
    with (
        open_volume(source) as volume,
        create_volume(path, shape=volume.shape, dtype=np.uint8, frame=volume.frame) as writer,
    ):
        writer.write(np.zeros(volume.shape, np.uint8))
    return path


@pytest.mark.parametrize(("save", "source"), [(nrrd_directions, "a.nrrd"), (metaimage, "a.mha")])
@pytest.mark.parametrize("suffix", [".nrrd", ".seg.nrrd", ".mha"])
@pytest.mark.parametrize("unit", ["microns", "mm", "cm"])
def test_a_result_lies_on_its_scan_for_programs_that_read_no_unit(save, source, suffix, unit, tmp_path):
    """ITK shows a NRRD or MetaImage in microns by its numbers: the result has the same, and says in which unit."""
    scan = save(tmp_path / source, [unit] * 3, (95.83333333333333, 95.83333333333333, 625))
    written = result(scan, tmp_path / f"result{suffix}")
    before, after = sitk.ReadImage(str(scan)), sitk.ReadImage(str(written))
    np.testing.assert_allclose(after.GetSpacing(), before.GetSpacing(), rtol=1e-14)
    np.testing.assert_allclose(after.GetOrigin(), before.GetOrigin(), rtol=1e-14)
    with open_volume(scan) as volume, open_volume(written) as other:
        np.testing.assert_allclose(other.frame.matrix, volume.frame.matrix, rtol=1e-14)


def test_a_nifti_in_microns_has_a_nrrd_that_lies_on_it_in_itk(tmp_path):
    """ITK reads the unit of the one and none of the other: in mm they coincide."""
    affine = np.diag([-95.8, -95.8, 625.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    image = nib.Nifti1Image(VOXELS.T, affine)
    image.header.set_xyzt_units("micron")
    image.to_filename(tmp_path / "a.nii")
    before = sitk.ReadImage(str(tmp_path / "a.nii"))
    after = sitk.ReadImage(str(result(tmp_path / "a.nii", tmp_path / "b.nrrd")))
    np.testing.assert_allclose(after.GetSpacing(), before.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(after.GetOrigin(), before.GetOrigin(), rtol=1e-6)


def test_a_nrrd_result_has_the_unit_of_each_axis(tmp_path):
    """Numbers over numbers, also where z is in mm and the plane in microns."""
    scan = nrrd_directions(tmp_path / "a.nrrd", ["um", "um", "mm"], (95.8, 95.8, 0.625))
    written = result(scan, tmp_path / "b.nrrd")
    np.testing.assert_allclose(sitk.ReadImage(str(written)).GetSpacing(), (95.8, 95.8, 0.625), rtol=1e-14)
    with open_volume(written) as volume:
        np.testing.assert_allclose(list(volume.spacing), (0.625, 0.0958, 0.0958), rtol=1e-12)


def test_an_imagej_result_has_the_units_of_its_scan(tmp_path):
    """BigWarp and BigDataViewer lay calibrated numbers over each other."""
    scan = imagej(tmp_path / "a.tif", ["micron", "micron", "mm"], (0.5, 0.25, 2))
    with tifffile.TiffFile(result(scan, tmp_path / "b.tif")) as tiff:
        found = tiff.imagej_metadata
        assert (found["unit"], found.get("yunit", "um"), found["zunit"], found["spacing"]) == ("um", "um", "mm", 2.0)
        assert tiff.pages.first.tags.valueof("XResolution") == (2, 1)
        assert tiff.pages.first.tags.valueof("YResolution") == (4, 1)


def test_an_ome_zarr_result_has_the_units_of_its_scan(tmp_path):
    """A viewer that reads scales without units shows labels over their image."""
    scan = ome_zarr(tmp_path / "a.zarr", ["micrometer", "micrometer", "micrometer"], (0.5, 0.25, 2))
    multiscale = zarr.open_group(result(scan, tmp_path / "b.ome.zarr"), mode="r").attrs["ome"]["multiscales"][0]
    assert [axis["unit"] for axis in multiscale["axes"]] == ["micrometer"] * 3
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [2.0, 0.25, 0.5]


@pytest.mark.parametrize(("save", "source"), [(imagej, "a.tif"), (hdf5, "a.h5"), (ome_zarr, "a.zarr")])
def test_formats_that_place_nothing_give_results_in_mm(save, source, tmp_path):
    """A TIFF in microns has no place in Slicer: there its result as NRRD has the true size."""
    written = result(save(tmp_path / source, ["um"] * 3, (500, 250, 2000)), tmp_path / "b.nrrd")
    np.testing.assert_allclose(sitk.ReadImage(str(written)).GetSpacing(), (0.5, 0.25, 2.0))
