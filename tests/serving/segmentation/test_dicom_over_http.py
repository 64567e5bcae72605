"""DICOM segmentations from a real server: of a series that was posted as a zip, and of what is none."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ricefish.client import Client
from serving.observability.findings import Level
from serving.process.diagnosis import audit
from tests.serving.conftest import Example
from tests.serving.running import RunningServer

OBLIQUE = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]


def grey() -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Background 0, a heart of 500 in slices 2 to 4, an eye of 1000 in slice 0."""
    values = np.zeros((6, 12, 10), np.uint16)
    values[2:5, 3:8, 2:9] = 500
    values[0, 10:, 8:] = 1000
    return values


def zipped_series(**changes: Any) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for index, plane in enumerate(grey()):
            data = pydicom.Dataset()
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            place = [-1.2 * index, 1.6 * index, 30.0]
            fields = {
                "SOPClassUID": CTImageStorage, "SOPInstanceUID": f"1.2.840.3.{index + 1}", "PatientName": "Koi^Änne",
                "PatientID": "fish 7", "SpecificCharacterSet": "ISO_IR 100", "StudyInstanceUID": "1.2.840.1",
                "SeriesInstanceUID": "1.2.840.4", "FrameOfReferenceUID": "1.2.840.2", "Rows": 12, "Columns": 10,
                "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16,
                "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0, "PixelSpacing": [0.5, 0.25],
                "ImageOrientationPatient": OBLIQUE, "ImagePositionPatient": place, "PixelData": plane.tobytes(),
            }  # fmt: skip
            for name, value in (fields | changes).items():
                setattr(data, name, value)
            file = io.BytesIO()
            data.save_as(file, enforce_file_format=True)
            files.writestr(f"{index}.dcm", file.getvalue())
    return archive.getvalue()


@pytest.fixture(scope="module")
def finished(server: RunningServer) -> str:
    answer = server.post(zipped_series(), "fish.zip")
    assert answer.status_code == 202, answer.text
    scan = str(answer.json()["id"])
    assert server.until_ended(scan)["state"] == "succeeded"
    return scan


def test_a_series_has_a_segmentation_that_refers_to_it(server: RunningServer, finished: str) -> None:
    """What highdicom reads are the voxels that NIfTI has, slice by slice, with names, patient, study and place."""
    answer = server.get(f"/v1/scans/{finished}/segmentation?format=dicom-seg")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert 'filename="fish_segmentation.dcm"' in answer.headers["content-disposition"]
    made = highdicom.seg.segread(io.BytesIO(answer.content))
    assert [one.segment_label for one in made.SegmentSequence] == ["heart", "eye"]
    assert (str(made.PatientName), made.PatientID) == ("Koi^Änne", "fish 7")
    assert (made.StudyInstanceUID, made.FrameOfReferenceUID) == ("1.2.840.1", "1.2.840.2")
    uids = [f"1.2.840.3.{index + 1}" for index in range(6)]
    found = made.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(found, (grey() == 500) + 2 * (grey() == 1000))
    assert server.get(f"/v1/scans/{finished}/segmentation?format=dicom-seg").content == answer.content


def test_a_correction_is_an_object_of_its_own(server: RunningServer) -> None:
    """With other UIDs than the model's answer, made when it was sent, and not by the model alone."""
    scan = str(server.post(zipped_series(PatientID="fish 8"), "fish_8.zip").json()["id"])
    assert server.until_ended(scan)["state"] == "succeeded"
    labels = server.get(f"/v1/scans/{scan}/segmentation?format=nrrd").content
    sent = server.http.put(f"{server.url}/v1/scans/{scan}/segmentation?filename=mine.nrrd", content=labels)
    assert sent.status_code == 201, sent.text
    made = [
        pydicom.dcmread(io.BytesIO(server.get(f"/v1/scans/{scan}/segmentation?format=dicom-seg&version={n}").content))
        for n in (0, 1)
    ]
    kinds = [one.SegmentSequence[0].SegmentAlgorithmType for one in made]
    assert kinds == ["AUTOMATIC", "SEMIAUTOMATIC"]
    assert len({one.SOPInstanceUID for one in made}) == len({one.SeriesInstanceUID for one in made}) == 2
    assert made[0].StudyInstanceUID == made[1].StudyInstanceUID


def test_the_client_fetches_it_by_its_suffix(server: RunningServer, finished: str, tmp_path: Path) -> None:
    """`.dcm` stands for it, as for `ricefish segment -o organs.dcm`."""
    with Client(server.url) as client:
        client.download(finished, tmp_path / "organs.dcm")
    assert highdicom.seg.segread(tmp_path / "organs.dcm").NumberOfFrames == 4


def test_headers_are_kept_beside_the_voxels_and_the_series_is_not(server: RunningServer, finished: str) -> None:
    """One small file of JSON, without pixels; what was sent is removed as before."""
    folder = server.store / "scans" / finished
    assert not any((folder / "source").iterdir())
    kept = (folder / "source_headers.json").read_bytes()
    assert b"1.2.840.3.6" in kept and b"PixelData" not in kept and len(kept) < 4000


def test_a_scan_that_is_no_series_has_none(server: RunningServer, example: Example) -> None:
    """409, with the reason and the formats that there are."""
    scan = server.post(example.path, "fish_7.nii.gz").json()["id"]
    server.until_ended(scan)
    answer = server.get(f"/v1/scans/{scan}/segmentation?format=dicom-seg")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:ricefish:problem:no-dicom-segmentation")
    assert "it did not come as one" in answer.json()["detail"] and "nii.gz, nrrd, tif" in answer.json()["detail"]
    assert "(fish_7.nii.gz)" in answer.json()["detail"]


def test_a_series_without_a_study_is_segmented_and_told(server: RunningServer) -> None:
    """Its scan is as good as any; that there is no DICOM segmentation, its own header says."""
    scan = server.post(zipped_series(StudyInstanceUID=""), "fish.zip").json()["id"]
    assert server.until_ended(scan)["state"] == "succeeded"
    answer = server.get(f"/v1/scans/{scan}/segmentation?format=dicom-seg")
    assert answer.status_code == 409
    assert "has no StudyInstanceUID" in answer.json()["detail"]
    assert server.get(f"/v1/scans/{scan}/segmentation?format=nrrd").status_code == 200


def test_headers_whose_patient_is_no_dicom_are_no_reason_to_refuse(server: RunningServer) -> None:
    """A weight that is no number is left out, or comes through; voxels do not depend on it."""
    content = zipped_series()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, file in files.items():
            data = pydicom.dcmread(io.BytesIO(file))
            with pydicom.config.disable_value_validation():
                data.add_new("PatientSize", "LO", "as long as a finger")
                data["PatientSize"].VR = "DS"
            out = io.BytesIO()
            with pydicom.config.disable_value_validation():
                data.save_as(out, enforce_file_format=True)
            archive.writestr(name, out.getvalue())
    answer = server.post(changed.getvalue(), "fish.zip")
    assert answer.status_code == 202, answer.text
    scan = answer.json()["id"]
    assert server.until_ended(scan)["state"] == "succeeded"
    assert server.get(f"/v1/scans/{scan}/segmentation?format=dicom-seg").status_code in (200, 409)


def test_damaged_headers_are_never_handed_out(server: RunningServer, tmp_path: Path) -> None:
    """503, another format is as good as ever, and `ricefish doctor --store` names the file."""
    scan = server.post(zipped_series(), "fish.zip").json()["id"]
    server.until_ended(scan)
    kept = server.store / "scans" / scan / "source_headers.json"
    kept.write_bytes(kept.read_bytes().replace(b"fish 7", b"fish 8"))
    answer = server.get(f"/v1/scans/{scan}/segmentation?format=dicom-seg")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:ricefish:problem:scan-damaged")
    assert server.get(f"/v1/scans/{scan}/segmentation?format=nrrd").status_code == 200
    failed = {one.name: one for one in audit(store=server.store) if one.level is Level.FAIL}
    named = failed[f"scan {scan}, source_headers.json"]
    assert "headers" in named.found and "Post fish.zip again" in named.advice
    assert server.http.delete(f"{server.url}/v1/scans/{scan}").status_code == 204
