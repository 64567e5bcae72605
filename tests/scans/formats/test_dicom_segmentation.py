"""DICOM Segmentations of series that were read, read back by highdicom and pydicom, which know nothing of Ricefish."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, SegmentationStorage

from scans.formats import dicom_segmentation as dicom_segmentation_module
from scans.formats import open_volume
from scans.formats.dicom_segmentation import Authorship, dicom_segmentation
from scans.formats.dicom_series import DicomSeries
from scans.formats.errors import NotSegmentable
from scans.organs import OrganMap

ORGANS = OrganMap.from_mapping({1: {"name": "heart", "colour": [255, 0, 0]}, 2: "gills", 3: "left_eye"})
BY = Authorship("student", "7", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), "scan 1")
OBLIQUE = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]
"""Columns turned in the plane of x and y, rows downwards: the normal is (-0.6, 0.8, 0)."""
PATIENT = {
    "PatientName": "Müller^Änne", "PatientID": "fish 7", "PatientSex": "O", "PatientAge": "002M",
    "SpecificCharacterSet": "ISO_IR 100", "StudyInstanceUID": "1.2.840.1", "FrameOfReferenceUID": "1.2.840.2",
    "StudyDate": "20260102", "AccessionNumber": "A1", "Modality": "CT",
}  # fmt: skip


def oblique_series(folder: Path, dicom_slice: Any, *, slices: int = 4, **changes: Any) -> Path:
    """Slices of 5 x 6 pixels, 2 mm apart along the normal, whose files are in the contrary order."""
    folder.mkdir()
    for index in range(slices):
        place = {"ImageOrientationPatient": OBLIQUE, "ImagePositionPatient": [-1.2 * index, 1.6 * index, 30.0]}
        uids = {"SOPInstanceUID": f"1.2.840.3.{index + 1}", "SOPClassUID": CTImageStorage}
        plane = np.full((5, 6), index, np.uint16)
        dicom_slice(folder / f"{slices - index}.dcm", plane, **{**place, **uids, **PATIENT, **changes})
    return folder


def headers_of(path: Path) -> DicomSeries:
    with open_volume(path) as volume:
        assert volume.source_headers is not None
        kept = volume.source_headers()
    assert kept is not None
    return DicomSeries.from_json(kept)


def labels() -> NDArray[np.uint8]:
    """A heart in slices 1 and 2, an eye in slice 3, no gills."""
    classes = np.zeros((4, 5, 6), np.uint8)
    classes[1:3, 1:4, 2:5] = 1
    classes[3, 0, 0] = 3
    return classes


def read(content: bytes) -> highdicom.seg.Segmentation:
    return highdicom.seg.segread(io.BytesIO(content))


def test_segments_lie_where_the_slices_of_a_turned_series_do(tmp_path: Path, dicom_slice: Any) -> None:
    """Each frame has the position of its slice, and refers to its object; a mask is the organ's voxels."""
    series = headers_of(oblique_series(tmp_path / "ct", dicom_slice))
    content = dicom_segmentation(labels(), ORGANS.organs, series, BY)
    made = read(content)
    assert made.SOPClassUID == SegmentationStorage and made.SegmentationType == "BINARY"
    assert (made.NumberOfFrames, made.Rows, made.Columns) == (3, 5, 6)
    uids = [one.sop_instance for one in series.slices]
    assert uids == [f"1.2.840.3.{index}" for index in (1, 2, 3, 4)]
    masks = made.get_pixels_by_source_instance(uids, combine_segments=False, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(masks[..., 0], labels() == 1)
    np.testing.assert_array_equal(masks[..., 1], labels() == 3)
    stored = pydicom.dcmread(io.BytesIO(content))
    np.testing.assert_array_equal(stored.pixel_array, [labels()[1] == 1, labels()[2] == 1, labels()[3] == 3])
    frames = [item.PlanePositionSequence[0] for item in made.PerFrameFunctionalGroupsSequence]
    places = sorted((list(map(float, one.ImagePositionPatient)) for one in frames), reverse=True)
    np.testing.assert_allclose(places, [(-1.2 * index, 1.6 * index, 30.0) for index in (1, 2, 3)], atol=1e-9)
    shared = made.SharedFunctionalGroupsSequence[0]
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == OBLIQUE
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [0.5, 0.25]


def test_organs_have_names_colours_and_their_class_index(tmp_path: Path, dicom_slice: Any) -> None:
    """Segments without gaps, of the organs that are there; red is L* 53, a* 80, b* 67."""
    made = read(
        dicom_segmentation(labels(), ORGANS.organs, headers_of(oblique_series(tmp_path / "ct", dicom_slice)), BY)
    )
    assert [(one.segment_number, one.segment_label) for one in made.SegmentSequence] == [(1, "heart"), (2, "left_eye")]
    assert [one.SegmentDescription for one in made.SegmentSequence] == [
        "Class index 1 of student",
        "Class index 3 of student",
    ]
    heart = made.SegmentSequence[0]
    assert (heart.SegmentAlgorithmType, heart.SegmentAlgorithmName) == ("AUTOMATIC", "student")
    lightness, a, b = np.array(heart.RecommendedDisplayCIELabValue) / 65535 * [100, 255, 255] - [0, 128, 128]
    np.testing.assert_allclose([lightness, a, b], [53.2, 80.1, 67.2], atol=0.5)


def test_it_belongs_to_patient_study_and_frame_of_reference(tmp_path: Path, dicom_slice: Any) -> None:
    """As they came, letters beyond ASCII too; the series is its own, and refers to the source's."""
    series = headers_of(oblique_series(tmp_path / "ct", dicom_slice, SeriesInstanceUID="1.2.840.4"))
    made = read(dicom_segmentation(labels(), ORGANS.organs, series, BY))
    assert str(made.PatientName) == "Müller^Änne" and made.PatientID == "fish 7" and made.PatientAge == "002M"
    assert (made.StudyInstanceUID, made.FrameOfReferenceUID) == ("1.2.840.1", "1.2.840.2")
    assert (made.StudyDate, made.AccessionNumber, made.Modality) == ("20260102", "A1", "SEG")
    assert made.SeriesInstanceUID != "1.2.840.4"
    referred = made.ReferencedSeriesSequence[0]
    assert referred.SeriesInstanceUID == "1.2.840.4"
    assert {one.ReferencedSOPInstanceUID for one in referred.ReferencedInstanceSequence} == {
        f"1.2.840.3.{index}" for index in (1, 2, 3, 4)
    }


def test_the_same_result_is_the_same_object(tmp_path: Path, dicom_slice: Any) -> None:
    """Byte for byte, so that an archive that is sent it twice has it once; another scan's is another object."""
    series = headers_of(oblique_series(tmp_path / "ct", dicom_slice))
    first = dicom_segmentation(labels(), ORGANS.organs, series, BY)
    assert dicom_segmentation(labels(), ORGANS.organs, series, BY) == first
    other = read(dicom_segmentation(labels(), ORGANS.organs, series, dataclasses.replace(BY, entropy="scan 2")))
    assert other.SOPInstanceUID != read(first).SOPInstanceUID
    assert (read(first).ContentDate, read(first).ContentTime) == ("20260304", "050607")


@pytest.mark.parametrize("heights", [(6, 4, 2, 0), (0,)])
def test_frames_of_one_file_are_referred_to_by_their_numbers(heights: tuple[int, ...], tmp_path: Path) -> None:
    """An enhanced file whose frames go downwards, or of a single one: the masks lie on them all the same."""
    classes = labels()[-len(heights) :]
    content = pydicom.Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.SOPClassUID, content.SOPInstanceUID = EnhancedCTImageStorage, "1.2.840.5"
    content.SeriesInstanceUID, content.Rows, content.Columns = "1.2.840.4", 5, 6
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated, content.BitsStored, content.HighBit, content.PixelRepresentation = 16, 16, 15, 0
    for name, value in PATIENT.items():
        setattr(content, name, value)
    measures, plane, shared = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.25], 2.0
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    content.SharedFunctionalGroupsSequence = [shared]
    content.NumberOfFrames, frames = len(heights), []
    for height in heights:
        position, frame = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [1, 2, height]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    content.PerFrameFunctionalGroupsSequence = frames
    content.PixelData = np.zeros(classes.shape, np.uint16).tobytes()
    content.save_as(tmp_path / "fish.dcm", enforce_file_format=True)
    made = read(dicom_segmentation(classes, ORGANS.organs, headers_of(tmp_path / "fish.dcm"), BY))
    upwards = list(range(len(heights), 0, -1))
    found = made.get_pixels_by_source_frame(
        "1.2.840.5", upwards, combine_segments=True, assert_missing_frames_are_empty=True
    )
    names = {one.segment_number: one.segment_label for one in made.SegmentSequence}
    for number, name in names.items():
        index = ORGANS.names.index(name) + 1
        np.testing.assert_array_equal(found == number, classes == index)


def test_headers_are_kept_without_pixels_and_private_elements(tmp_path: Path, dicom_slice: Any) -> None:
    """What a scanner's maker hides in them, and what is as large as a file likes, is not kept; they are JSON."""
    too_long = {"PatientComments": "no" * 10_000}
    folder = oblique_series(tmp_path / "ct", dicom_slice, ImageComments="no", StationName="no", **too_long)
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        data.add_new(0x00110010, "LO", "MAKER")
        data.add_new(0x00111001, "LO", "secret")
        data.save_as(file)
    with open_volume(folder) as volume:
        assert volume.source_headers is not None
        kept = volume.source_headers()
    assert kept is not None and b"secret" not in kept
    keywords = {pydicom.datadict.keyword_for_tag(int(tag, 16)) for tag in json.loads(kept)["common"]}
    assert keywords == {*PATIENT, "SeriesInstanceUID"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"FrameOfReferenceUID": None}, "has no FrameOfReferenceUID"),
        ({"StudyInstanceUID": None}, "has no StudyInstanceUID"),
        ({"SOPInstanceUID": "1.2.3"}, "share a SOPInstanceUID"),
    ],
)
def test_a_series_that_cannot_be_referred_to_is_told(
    changes: dict[str, Any], said: str, tmp_path: Path, dicom_slice: Any
) -> None:
    """By the attribute that is missing."""
    series = headers_of(oblique_series(tmp_path / "ct", dicom_slice, **changes))
    with pytest.raises(NotSegmentable, match=said):
        dicom_segmentation(labels(), ORGANS.organs, series, BY)


def test_no_organ_is_no_segmentation(tmp_path: Path, dicom_slice: Any) -> None:
    """DICOM wants one segment at least."""
    series = headers_of(oblique_series(tmp_path / "ct", dicom_slice))
    with pytest.raises(NotSegmentable, match="no organ was found"):
        dicom_segmentation(labels() * 0, ORGANS.organs, series, BY)


@pytest.mark.parametrize(
    ("limit", "most", "said"),
    [
        ("_MOST_VOXELS", 119, "the scan has 120 voxels, and a DICOM segmentation 119 at most; fetch it as nii.gz"),
        ("_MOST_FRAMES", 2, "the organs are in 3 slices, those of each organ counted; .* 2 at most"),
        ("_MOST_MASK_BYTES", 10, "the organs are in 3 slices, .* that take 10 bytes"),
    ],
)
def test_what_takes_too_much_memory_is_refused_with_its_size(
    limit: str, most: int, said: str, tmp_path: Path, dicom_slice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 x 5 x 6 voxels, three frames of 30 bits: one more of anything is too many, and the message has the way out."""
    series = headers_of(oblique_series(tmp_path / "ct", dicom_slice))
    monkeypatch.setattr(dicom_segmentation_module, limit, most + 1)
    dicom_segmentation(labels(), ORGANS.organs, series, BY)
    monkeypatch.setattr(dicom_segmentation_module, limit, most)
    with pytest.raises(NotSegmentable, match=said):
        dicom_segmentation(labels(), ORGANS.organs, series, BY)


def test_headers_that_are_no_good_dicom_come_through(tmp_path: Path, dicom_slice: Any) -> None:
    """An age in words and an id of 80 characters are as bad in the segmentation as they were in the scan."""
    strange = {"PatientAge": "two months", "PatientID": "fish" * 20}
    with pydicom.config.disable_value_validation():
        folder = oblique_series(tmp_path / "ct", dicom_slice, **strange)
    content = dicom_segmentation(labels(), ORGANS.organs, headers_of(folder), BY)
    with pydicom.config.disable_value_validation():
        assert pydicom.dcmread(io.BytesIO(content)).PatientID == "fish" * 20


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"common": 3, "slices": [[1]], "axes": 1}'])
def test_what_is_no_headers_is_refused(content: bytes) -> None:
    """With ValueError, and nothing else."""
    with pytest.raises(ValueError, match=r"."):
        DicomSeries.from_json(content)


def test_slices_without_a_place_have_no_headers(tmp_path: Path, dicom_slice: Any) -> None:
    """A segmentation could not lie anywhere."""
    folder = tmp_path / "ct"
    folder.mkdir()
    for index in range(3):
        plane = np.zeros((2, 3), np.uint16)
        dicom_slice(folder / f"{index}.dcm", plane, ImagePositionPatient=None, InstanceNumber=index + 1)
    from scans.geometry import Spacing

    with open_volume(folder, spacing=Spacing(1, 0.5, 0.25)) as volume:
        assert volume.source_headers is not None and volume.source_headers() is None


@pytest.mark.slow
def test_a_series_from_a_scanner_has_a_segmentation(real_data: Path, tmp_path: Path) -> None:
    """CT slices in JPEG 2000, whose study somebody took out: that is told. With one, masks lie on the voxels."""
    folder = real_data / "formats" / "ct_dicom_series"
    anonymous = headers_of(folder)
    with pytest.raises(NotSegmentable, match="the DICOM series has no StudyInstanceUID"):
        dicom_segmentation(np.zeros((20, 512, 512), np.uint8), ORGANS.organs, anonymous, BY)
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.840.1", "1.2.840.4"
        data.save_as(tmp_path / file.name)
    with open_volume(tmp_path) as volume:
        frame, shape = volume.frame, volume.shape
    series = headers_of(tmp_path)
    classes = np.zeros(shape, np.uint8)
    classes[5:15, 100:200, 120:300] = 2
    made = read(dicom_segmentation(classes, ORGANS.organs, series, BY))
    found = made.get_volume(combine_segments=True)
    corners = [frame.world_mm((z, 0, 0)) * np.array([-1, -1, 1]) for z in (5, 14)]
    assert any(np.allclose(found.position, corner, atol=1e-3) for corner in corners)
    np.testing.assert_allclose(found.spacing, list(frame.spacing), rtol=1e-5)
    assert made.FrameOfReferenceUID == "1.3.12.2.1107.5.1.4.60064.30000022120807274275100000041"
    uids = [one.sop_instance for one in series.slices]
    assert len(set(uids)) == 20
    masks = made.get_pixels_by_source_instance(uids, combine_segments=False, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(masks[..., 0], classes == 2)
