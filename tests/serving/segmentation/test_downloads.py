"""What a finished segmentation is fetched as: where it lies, what its labels are called, and the scan beside it."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from scans.formats import open_volume
from scans.geometry import Spacing
from scans.intensity import IntensityRule
from scans.volume import Volume
from tests.serving.conftest import AFFINE, Example
from tests.serving.running import RunningServer


@pytest.fixture(scope="module")
def finished(server: RunningServer, example: Example) -> dict[str, object]:
    """The example's scan, segmented."""
    answer = server.post(example.path, "fish_7.nii.gz")
    assert answer.status_code == 202, answer.text
    return server.until_ended(answer.json()["id"])


def test_labels_have_a_description_for_itk_snap(server: RunningServer, finished: dict[str, object]) -> None:
    """A file of its own, named after the scan's, for the NIfTI lies beside it."""
    answer = server.get(f"/v1/scans/{finished['id']}/labels")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert 'filename="fish_7_labels.txt"' in answer.headers["content-disposition"]
    lines = [line.split() for line in answer.text.splitlines() if not line.startswith("#")]
    assert [(line[0], line[-1]) for line in lines[1:]] == [("1", '"heart"'), ("2", '"eye"')]


def test_a_result_lies_on_a_scan_whose_qform_and_sform_differ(
    server: RunningServer, example: Example, tmp_path: Path
) -> None:
    """Both forms and their codes come back, so that nibabel and ITK, which choose otherwise, place both files alike."""
    turned = np.array([[0, -0.5, 0, 3], [0.75, 0, 0, -7.5], [0, 0, 1.5, 20], [0, 0, 0, 1]])
    image = nib.Nifti1Image(example.grey.T, None)
    image.header.set_sform(turned, code=3)
    image.header.set_qform(np.diag([0.5, 0.75, 1.5, 1.0]), code=1)
    nib.save(nib.Nifti1Image(example.grey.T, None, image.header), tmp_path / "scan.nii.gz")
    ended = server.until_ended(server.post(tmp_path / "scan.nii.gz", "scan.nii.gz").json()["id"])
    (note,) = ended["notes"]  # type: ignore[misc]
    assert re.match(r"qform and sform place the scan up to [\d.]+ mm apart, .*: nii\.gz carries both", note)
    (tmp_path / "out.nii.gz").write_bytes(server.get(f"/v1/scans/{ended['id']}/segmentation").content)
    before, after = nib.load(tmp_path / "scan.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    for field in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_d", "qoffset_x"):
        np.testing.assert_array_equal(after.header[field], before.header[field])
    np.testing.assert_array_equal(after.affine, before.affine)
    scan, result = (sitk.ReadImage(str(tmp_path / name)) for name in ("scan.nii.gz", "out.nii.gz"))
    for place in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(result, place)() == getattr(scan, place)()


def test_an_ome_zarr_has_the_scan_with_its_labels_on_demand(
    server: RunningServer, finished: dict[str, object], example: Example, tmp_path: Path
) -> None:
    """ome-zarr-py finds an image, at the grey values that the model was shown, and its labels with their colours."""
    answer = server.get(f"/v1/scans/{finished['id']}/segmentation?format=ome-zarr&scan=true")
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "fish.ome.zarr")
    image, *_, labels = Reader(parse_url(tmp_path / "fish.ome.zarr"))()
    np.testing.assert_array_equal(np.asarray(image.data[0]), example.grey)
    window = IntensityRule(0.0, 100.0).window(Volume.from_array(example.grey, Spacing(1, 1, 1)))
    assert image.metadata["contrast_limits"] == [[window.lower, window.upper]]
    nifti = server.get(f"/v1/scans/{finished['id']}/segmentation").content
    expected = nib.Nifti1Image.from_bytes(gzip.decompress(nifti))
    np.testing.assert_array_equal(np.asarray(labels.data[0]), np.asarray(expected.dataobj).T)
    assert {value["name"] for value in labels.metadata["properties"].values()} == {"heart", "eye"}
    assert labels.metadata["coordinateTransformations"] == image.metadata["coordinateTransformations"]
    with open_volume(tmp_path / "fish.ome.zarr") as volume:
        np.testing.assert_array_equal(volume.read(), example.grey)
        np.testing.assert_allclose(volume.frame.matrix, AFFINE)
    with open_volume(tmp_path / "fish.ome.zarr", dataset="labels/segmentation", labels=True) as volume:
        np.testing.assert_array_equal(volume.read(), np.asarray(expected.dataobj).T)
        np.testing.assert_allclose(volume.frame.matrix, AFFINE)


def test_the_scan_comes_with_no_other_format(server: RunningServer, finished: dict[str, object]) -> None:
    """400, and the message names the one that has room for both."""
    answer = server.get(f"/v1/scans/{finished['id']}/segmentation?format=nrrd&scan=true")
    assert answer.status_code == 400
    assert answer.json()["detail"] == "scan is true and format 'nrrd'; the scan can be fetched with ome-zarr"
