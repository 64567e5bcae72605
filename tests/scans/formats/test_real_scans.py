"""Scans as users have them, compared with readers that know nothing of Ricefish."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name

from scans.formats import create_volume, open_volume


@pytest.mark.slow
def test_a_compressed_dicom_series_is_what_simpleitk_reads(real_data):
    """JPEG 2000 slices whose names are in another order: same voxels in Hounsfield units, same place."""
    folder = real_data / "formats" / "ct_dicom_series"
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    with open_volume(folder) as volume:
        assert volume.dtype == np.int16
        np.testing.assert_array_equal(volume.slab(15, 20), sitk.GetArrayViewFromImage(image)[15:])
        np.testing.assert_array_equal(volume.slab(0, 15), sitk.GetArrayViewFromImage(image)[:15])
        np.testing.assert_allclose(volume.frame.origin, image.GetOrigin())
        np.testing.assert_allclose(list(volume.spacing), image.GetSpacing()[::-1])
        np.testing.assert_allclose(volume.frame.direction.ravel(), image.GetDirection(), atol=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "formats/abdomen_ct_int32.nii.gz",
        "headneck_ct/labelled/images/pt_2.nii.gz",
        "headneck_ct/labelled/labels/pt_2.nii.gz",
        "headneck_ct/unlabelled/images/pt_99.nii.gz",
    ],
)
def test_a_nifti_comes_back_with_its_affine(name, real_data, tmp_path):
    """Voxels and affine are nibabel's; written back, both are the same to the last bit."""
    image = nib.load(real_data / name)
    path = tmp_path / "back.nii.gz"
    with open_volume(real_data / name) as volume:
        np.testing.assert_array_equal(volume.frame.matrix, image.affine)
        with create_volume(path, shape=volume.shape, dtype=volume.dtype, frame=volume.frame) as writer:
            for _, slab in volume.slabs(16):
                writer.write(slab)
    back = nib.load(path)
    np.testing.assert_array_equal(back.affine, image.affine)
    np.testing.assert_array_equal(back.dataobj, image.dataobj)
    assert back.header.get_data_dtype() == image.header.get_data_dtype()
