"""Where a NIfTI lies: both forms and their codes, to the last bit, as nibabel and ITK see them."""

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scans.formats import open_volume
from tests.scans.formats.nifti_files import VOXELS, copy, in_nrrd, save


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
    """A rigid affine that came in another format is written both ways: readers that know only one find it."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix() * (0.01, 2, 30)
    turn[:3, 3] = (500.1, -300.2, 0.3)
    written = copy(in_nrrd(tmp_path / "a.nrrd", turn), tmp_path / "b.nii")
    sform, sform_code = written.get_sform(coded=True)
    qform, qform_code = written.get_qform(coded=True)
    assert (int(sform_code), int(qform_code)) == (2, 2)
    np.testing.assert_allclose(qform, sform, atol=1e-5)
    assert written.header.get_xyzt_units()[0] == "mm"


SKEWED = np.array([[1.0, 0, 0, 5], [0, 1.0, 0.5, 6], [0, 0, 2.0, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize("nifti", [True, False])
def test_a_skewed_affine_is_kept_in_the_sform_and_itk_finds_the_nearest_qform(tmp_path, nifti):
    """Gantry tilt cannot be told as a rotation, and ITK opens no file without one; neither did it open the scan."""
    source = save(tmp_path / "a.nii", affine=SKEWED) if nifti else in_nrrd(tmp_path / "a.nrrd", SKEWED)
    written = copy(source, tmp_path / "b.nii")
    np.testing.assert_array_equal(written.affine, SKEWED)
    seen = sitk.ReadImage(str(tmp_path / "b.nii"))
    axes = np.reshape(seen.GetDirection(), (3, 3))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(seen.GetSpacing(), np.linalg.norm(SKEWED[:3, :3], axis=0), rtol=1e-6)
    np.testing.assert_allclose(seen.GetOrigin(), (-5, -6, 7))
    stretch = (SKEWED[:3, :3] / np.linalg.norm(SKEWED[:3, :3], axis=0)).T @ np.diag([-1, -1, 1]) @ axes
    np.testing.assert_allclose(stretch, stretch.T, atol=1e-6, err_msg="no rotation lies nearer: the rest is symmetric")


@pytest.mark.parametrize("qform_code", [0, 1, 2, 4])
@pytest.mark.parametrize("sform_code", [0, 1, 2, 3])
@pytest.mark.parametrize("unit", ["mm", "micron"])
def test_a_result_lies_on_its_scan_whichever_form_a_program_goes_by(tmp_path, qform_code, sform_code, unit):
    """qform and sform differ, with codes of every kind: nibabel and ITK place both files alike, each in its own way."""
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("zx", (30, 20), degrees=True).as_matrix() * (0.5, 0.25, -2)
    turned[:3, 3] = (3, -7.5, 20)
    image = nib.Nifti1Image(VOXELS, None)
    image.header.set_sform(np.diag([0.5, 0.25, 2.0, 1.0]), code=sform_code)
    image.header.set_qform(turned, code=qform_code)
    image.header.set_xyzt_units(unit)
    nib.save(nib.Nifti1Image(VOXELS, None, image.header), tmp_path / "a.nii")
    before, after = nib.load(tmp_path / "a.nii"), copy(tmp_path / "a.nii", tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(after.affine, before.affine)
    for form in ("get_qform", "get_sform"):
        expected, code = getattr(before, form)(coded=True)
        found, found_code = getattr(after, form)(coded=True)
        assert found_code == code
        if code:
            np.testing.assert_array_equal(found, expected)
    scan, result = (sitk.ReadImage(str(tmp_path / name)) for name in ("a.nii", "b.nii.gz"))
    np.testing.assert_allclose(result.GetOrigin(), scan.GetOrigin(), rtol=1e-6)
    np.testing.assert_allclose(result.GetSpacing(), scan.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(result.GetDirection(), scan.GetDirection(), atol=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [("micron", 0.001), ("meter", 1000.0), ("mm", 1.0), ("unknown", 1.0)])
def test_a_unit_is_kept_and_the_place_too(unit, factor, tmp_path):
    """A file in micrometres or metres comes back so: at one place for ITK, which reads units, and for nibabel.

    Between the two its lengths are mm.
    """
    image = nib.Nifti1Image(VOXELS, np.array([[2.0, 0, 0, 8], [0, 4, 0, 16], [0, 0, 8, 32], [0, 0, 0, 1]]))
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "a.nii")
    with open_volume(tmp_path / "a.nii") as volume:
        np.testing.assert_allclose(volume.frame.affine, np.diag([factor] * 3 + [1.0]) @ image.affine)
    written = copy(tmp_path / "a.nii", tmp_path / "b.nii")
    np.testing.assert_array_equal(written.affine, image.affine)
    assert written.header.get_xyzt_units()[0] == ("mm" if unit == "unknown" else unit)
    before, after = (sitk.ReadImage(str(tmp_path / name)) for name in ("a.nii", "b.nii"))
    np.testing.assert_array_equal(after.GetSpacing(), before.GetSpacing())
    np.testing.assert_array_equal(after.GetOrigin(), before.GetOrigin())


@pytest.mark.parametrize(("aside", "notes"), [(0.0, 0), (0.05, 0), (0.5, 1)])
def test_forms_that_differ_are_noted(tmp_path, aside, notes):
    """Where they are farther apart than rounding leaves them; by how much is said."""
    header = nib.Nifti1Header()
    header.set_sform(np.diag([1.0, 2.0, 3.0, 1.0]), code=1)
    header.set_qform(np.array([[1.0, 0, 0, aside], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]), code=1)
    nib.save(nib.Nifti1Image(VOXELS, None, header), tmp_path / "a.nii")
    with open_volume(tmp_path / "a.nii") as volume:
        assert len(volume.notes) == notes
        assert all("up to 0.5 mm apart" in note for note in volume.notes)
