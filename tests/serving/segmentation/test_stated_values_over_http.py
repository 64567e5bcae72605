"""What a file says of its counts, polarity, units and places, over HTTP: believed, or refused in its words."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
import tifffile
from numpy.typing import NDArray

from tests.serving.running import RunningServer

GREY = np.random.default_rng(11).integers(0, 1000, (8, 12, 14)).astype(np.uint16)
IMAGEJ = "ImageJ=1.54f\nimages={0}\nslices={0}\nunit={1}\nspacing=2.0\n"


def _tiff(voxels: NDArray[np.uint16], *, stated: int, unit: str = "microns", **options: object) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        for index, plane in enumerate(voxels):
            described = None if index else IMAGEJ.format(stated, unit)
            tiff.write(plane, description=described, metadata=None, resolution=(2, 2), resolutionunit="NONE", **options)
    return buffer.getvalue()


def _nrrd(path: Path, unit: str) -> Path:
    named = " ".join([f'"{unit}"'] * 3)
    header = "NRRD0005\ntype: uint16\ndimension: 3\nspace dimension: 3\nsizes: 14 12 8\nencoding: raw\nendian: little\n"
    header += f"space directions: (95.8,0,0) (0,95.8,0) (0,0,625)\nspace origin: (10,20,30)\nspace units: {named}\n\n"
    path.write_bytes(header.encode() + GREY.tobytes())
    return path


def _segmented(server: RunningServer, content: bytes, name: str, **query: str) -> tuple[dict[str, object], bytes]:
    """The scan when it has ended, and its segmentation as NRRD."""
    answer = server.post(content, name, **query)
    assert answer.status_code == 202, answer.text
    scan = server.until_ended(answer.json()["id"])
    assert scan["state"] == "succeeded"
    return scan, server.get(f"/v1/scans/{scan['id']}/segmentation?format=nrrd").content


def test_a_nrrd_in_microns_has_a_result_that_lies_on_it(server: RunningServer, tmp_path: Path) -> None:
    """ITK, which reads no unit, has the same numbers of both."""
    path = _nrrd(tmp_path / "a.nrrd", "microns")
    scan, segmentation = _segmented(server, path.read_bytes(), "a.nrrd")
    assert scan["spacing_mm"] == pytest.approx([0.625, 0.0958, 0.0958])
    (tmp_path / "b.nrrd").write_bytes(segmentation)
    before, after = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "b.nrrd"))
    np.testing.assert_allclose(after.GetSpacing(), before.GetSpacing())
    np.testing.assert_allclose(after.GetOrigin(), before.GetOrigin())


def test_a_scan_whose_white_is_0_is_segmented_as_the_same_in_black(server: RunningServer, tmp_path: Path) -> None:
    """The model sees high values where the object is bright, and whoever posted is told."""
    segmentations = []
    for name, voxels, photometric in (("a", GREY, "minisblack"), ("b", ~GREY, "miniswhite")):
        scan, segmentation = _segmented(server, _tiff(voxels, stated=8, photometric=photometric), f"{name}.tif")
        (tmp_path / f"{name}.nrrd").write_bytes(segmentation)
        segmentations.append(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nrrd"))))
    np.testing.assert_array_equal(*segmentations)
    assert np.unique(segmentations[0]).tolist() == [0, 1, 2]
    assert "low values are bright" in str(scan["notes"])


def test_a_stack_that_was_cut_is_refused_by_its_count(server: RunningServer) -> None:
    """Nothing of it is segmented."""
    answer = server.post(_tiff(GREY, stated=48), "cut.tif")
    assert answer.status_code == 422
    assert "cut.tif: states 48 slices, holds 8" in answer.json()["detail"]


def test_a_unit_that_says_nothing_asks_for_a_spacing(server: RunningServer) -> None:
    """400 that names the unit; the same file with a spacing is a scan."""
    content = _tiff(GREY, stated=8, unit="pixels")
    answer = server.post(content, "fish.tif")
    assert answer.status_code == 400
    assert "lengths in 'pixels', which says nothing of their size" in answer.json()["detail"]
    assert server.post(content, "fish.tif", spacing="2,0.5,0.5").status_code == 202


def test_slices_without_positions_ask_for_a_spacing(server: RunningServer, tmp_path: Path, dicom_slices: bytes) -> None:
    """400 that names what is missing; with a spacing they are in the order of their numbers."""
    answer = server.post(dicom_slices, "ct.zip")
    assert answer.status_code == 400
    assert "no ImagePositionPatient" in answer.json()["detail"]
    answer = server.post(dicom_slices, "ct.zip", spacing="2,0.5,0.25")
    assert answer.status_code == 202
    assert "the order of their InstanceNumber" in str(answer.json()["notes"])


@pytest.fixture
def dicom_slices(tmp_path: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, plane in enumerate(GREY):
            image = sitk.GetImageFromArray(plane[np.newaxis])
            image.SetMetaData("0020|0013", str(index + 1))
            sitk.WriteImage(image, str(tmp_path / "slice.dcm"))
            archive.write(_without_position(tmp_path / "slice.dcm"), f"{index}.dcm")
    return buffer.getvalue()


def _without_position(path: Path) -> Path:
    data = pydicom.dcmread(path)
    for name in ("ImagePositionPatient", "ImageOrientationPatient"):
        if name in data:
            delattr(data, name)
    data.SeriesInstanceUID = "1.2.3.4"
    data.save_as(path)
    return path
