"""Labels as viewers save them: turned, or placed by one of several forms."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
import tifffile
from numpy.typing import NDArray

from scans.formats import create_volume
from scans.geometry import Frame
from tests.training.data.labelled_scan import LABELS, OBLIQUE, ORIENTATIONS, data_set, read
from training.data.raw import RawDataError


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=lambda value: "".join(map(str, value.ravel())))
def test_labels_whose_axes_run_otherwise_are_turned(tmp_path: Path, orientation: NDArray[np.int64]) -> None:
    """All 48 orders and directions of the axes, packed and not: each voxel has the label that was drawn there."""
    folder = data_set(tmp_path)
    turned = nib.Nifti1Image(LABELS, OBLIQUE).as_reoriented(orientation)
    nib.save(turned, folder / ("a.nii.gz" if orientation[0, 1] > 0 else "a.nii"))
    np.testing.assert_array_equal(read(tmp_path), LABELS)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz"])
@pytest.mark.parametrize("direction", ["LPS", "RAS", "SPL"])
def test_labels_that_itk_reoriented_are_turned(tmp_path: Path, name: str, direction: str) -> None:
    """ITK-SNAP and Slicer reorient by way of ITK, and save in any of its formats."""
    folder = data_set(tmp_path)
    nib.save(nib.Nifti1Image(LABELS, OBLIQUE), tmp_path / "drawn.nii")
    sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "drawn.nii")), direction), str(folder / name))
    np.testing.assert_array_equal(read(tmp_path), LABELS)


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_labels_lie_where_either_form_of_their_image_puts_it(tmp_path: Path, form: str) -> None:
    """ITK-SNAP draws on a scan where its qform is, nibabel where its sform is."""
    folder = data_set(tmp_path)
    header = nib.Nifti1Header()
    header.set_sform(np.diag([0.5, 0.75, 2.0, 1.0]), code=2)
    header.set_qform(OBLIQUE, code=1)
    nib.save(nib.Nifti1Image(LABELS, None, header), tmp_path / "labelled/images/a.nii.gz")
    affine = header.get_sform() if form == "sform" else header.get_qform()
    nib.save(nib.Nifti1Image(LABELS, affine), folder / "a.nii.gz")
    np.testing.assert_array_equal(read(tmp_path), LABELS)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_labels_of_a_nifti_without_forms_lie_where_itk_or_nibabel_has_it(tmp_path: Path, suffix: str) -> None:
    """ITK has its first voxel at 0, nibabel its middle, and its y the other way round."""
    folder, path = data_set(tmp_path), tmp_path / "labelled/images/a.nii.gz"
    image = nib.Nifti1Image(np.arange(LABELS.size, dtype=np.int16).reshape(LABELS.shape), None)
    image.header.set_zooms((0.5, 0.75, 2.0))
    image.header["qform_code"] = image.header["sform_code"] = 0
    nib.save(image, path)
    itk = sitk.GetImageFromArray(LABELS.T)
    itk.CopyInformation(sitk.ReadImage(str(path)))
    sitk.WriteImage(itk, str(folder / f"a{suffix}"))
    np.testing.assert_array_equal(read(tmp_path), LABELS)
    (folder / f"a{suffix}").unlink()
    nib.save(nib.Nifti1Image(LABELS, nib.load(path).affine), folder / "a.nii.gz")
    np.testing.assert_array_equal(read(tmp_path), LABELS)


@pytest.mark.parametrize("direction", ["LPS", "RAI"])
def test_labels_of_a_tilted_scan_lie_where_itk_sees_its_nifti(tmp_path: Path, direction: str) -> None:
    """A result in NIfTI, put right in a viewer that knows no shear and saved, is on the voxels that it came from."""
    tilted = OBLIQUE.copy()
    tilted[:3, 2] += 0.6 * tilted[:3, 1]
    folder = data_set(tmp_path, tilted)
    with create_volume(
        tmp_path / "result.nii.gz", shape=LABELS.T.shape, dtype=np.uint8, frame=Frame.from_affine(tilted)
    ) as writer:
        writer.write(LABELS.T)
    drawn = sitk.ReadImage(str(tmp_path / "result.nii.gz"))
    sitk.WriteImage(sitk.DICOMOrient(drawn, direction), str(folder / "a.nrrd"))
    np.testing.assert_array_equal(read(tmp_path), LABELS)


@pytest.mark.parametrize("unit", ["um", "mm", "m"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_labels_in_the_numbers_of_their_images_unit_lie_on_it(tmp_path: Path, suffix: str, unit: str) -> None:
    """3D Slicer reads no unit in NRRD, nibabel none in NIfTI: what is drawn there has the image's numbers alone."""
    folder, image = data_set(tmp_path), tmp_path / "labelled/images/a.nii.gz"
    grey = np.arange(LABELS.size, dtype=np.int16).reshape(LABELS.shape)
    nifti = nib.Nifti1Image(grey, OBLIQUE)
    nifti.header.set_xyzt_units({"um": "micron", "mm": "mm", "m": "meter"}[unit])
    nib.save(nifti, image)
    if suffix == ".nrrd":
        directions = " ".join(f"({','.join(map(str, step))})" for step in OBLIQUE[:3, :3].T)
        origin = ",".join(map(str, OBLIQUE[:3, 3]))
        fields = (
            "type: int16\ndimension: 3\nspace: RAS\nsizes: 6 5 4\nendian: little\nencoding: raw\n"
            f'space directions: {directions}\nspace origin: ({origin})\nspace units: "{unit}" "{unit}" "{unit}"\n\n'
        )
        image.with_name("a.nrrd").write_bytes(f"NRRD0005\n{fields}".encode() + grey.T.tobytes())
        image.unlink()
    nib.save(nib.Nifti1Image(LABELS, OBLIQUE), tmp_path / "drawn.nii")
    drawn = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "drawn.nii")), "RAI")
    sitk.WriteImage(drawn, str(folder / "a.mha"))
    np.testing.assert_array_equal(read(tmp_path), LABELS)


@pytest.mark.parametrize("spacing", [(0.5, 0.75, 2.0), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("sign", [1, -1])
def test_labels_of_a_stack_that_states_no_place_lie_on_its_voxels(
    tmp_path: Path, spacing: tuple[float, float, float], sign: int
) -> None:
    """As scripts save them (NIfTI's axes) and as Slicer draws them (ITK's), which takes 1 mm for none."""
    folder = data_set(tmp_path)
    (tmp_path / "labelled/images/a.nii.gz").unlink()
    tifffile.imwrite(
        tmp_path / "labelled/images/a.tif",
        np.arange(LABELS.size, dtype=np.uint16).reshape(4, 5, 6),
        photometric="minisblack",
    )
    (tmp_path / "spacing.yaml").write_text("{z: 2.0, y: 0.75, x: 0.5}")
    x, y, z = spacing
    nib.save(nib.Nifti1Image(LABELS, np.diag([sign * x, sign * y, z, 1.0])), folder / "a.nii.gz")
    np.testing.assert_array_equal(read(tmp_path), LABELS)
    nib.save(nib.Nifti1Image(LABELS, np.diag([sign * x, sign * y, 1.1 * z, 1.0])), folder / "a.nii.gz")
    with pytest.raises(RawDataError, match="away from its image"):
        read(tmp_path)


def test_turned_labels_beside_their_image_are_refused(tmp_path: Path) -> None:
    """Grids that run alike do not coincide for that: half a voxel to the side is too far, and is said."""
    folder = data_set(tmp_path)
    aside = OBLIQUE.copy()
    aside[:3, 3] += aside[:3, 0] / 2
    nib.save(nib.Nifti1Image(LABELS, aside).as_reoriented(ORIENTATIONS[-1]), folder / "a.nii.gz")
    with pytest.raises(RawDataError, match=r"a\.nii\.gz lies up to 0\.25 mm away from its image"):
        read(tmp_path)


def test_labels_that_state_no_more_than_their_spacing_lie_on_their_image(tmp_path: Path) -> None:
    """As Fiji saves them; a spacing that is not the image's says that they are of another scan."""
    folder = data_set(tmp_path)
    for sizes in ((0.5, 0.75, 2.0), (0.5, 0.75, 2.1)):
        x, y, z = sizes
        metadata = {"unit": "mm", "spacing": z, "axes": "ZYX"}
        tifffile.imwrite(folder / "a.tif", LABELS.T, imagej=True, resolution=(1 / x, 1 / y), metadata=metadata)
        if z == 2.0:
            np.testing.assert_array_equal(read(tmp_path), LABELS)
    with pytest.raises(RawDataError, match=r"has voxels of 2\.1 x 0\.75 x 0\.5 mm \(z, y, x\); those of its image"):
        read(tmp_path)
