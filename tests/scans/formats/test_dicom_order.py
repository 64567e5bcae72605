"""DICOM slices that do not say where they lie, and series of which slices are gone."""

import numpy as np
import pytest

from scans.formats import FormatError, SpacingMissing, open_volume
from scans.geometry import Spacing

GIVEN = Spacing(2.0, 0.5, 0.25)


def series(folder, dicom_slice, numbers, **changes):
    """Slices of the value of their number, whose names are in another order."""
    folder.mkdir()
    for index, number in enumerate(numbers):
        plane = np.full((2, 3), number or 0, np.uint16)
        name = f"{(index * 7) % 11}.dcm"
        dicom_slice(folder / name, plane, **{"ImagePositionPatient": None, "InstanceNumber": number} | changes)
    return folder


def refused(path, **options):
    with pytest.raises(FormatError) as caught, open_volume(path, **options):
        pass
    return caught.value


@pytest.mark.parametrize("orientation", [None, [1, 0, 0, 0, 1, 0]])
def test_without_positions_numbers_give_the_order_and_whoever_knows_it_the_distance(orientation, tmp_path, dicom_slice):
    """The message says what is missing; with a spacing the series is read, and it is said how."""
    folder = series(tmp_path / "ct", dicom_slice, [3, 1, 4, 2], ImageOrientationPatient=orientation, SliceThickness=2)
    error = refused(folder)
    assert isinstance(error, SpacingMissing)
    assert "no ImagePositionPatient" in error.found and "PixelSpacing is 0.5, 0.25" in error.found
    with open_volume(folder, spacing=GIVEN) as volume:
        assert volume.read()[:, 0, 0].tolist() == [1, 2, 3, 4]
        assert volume.spacing == GIVEN
        assert volume.notes == ("the slices do not say where they lie; they are in the order of their InstanceNumber",)


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ([1, 2, 2, 3], "3.dcm and 7.dcm have the same InstanceNumber, 2, and no place"),
        ([1, 2, 4, 5], "no slices between 7.dcm and 3.dcm: InstanceNumber 2 and 4"),
        ([1, None, 3], "7.dcm says neither where it lies nor which slice it is (ImagePositionPatient, InstanceNumber)"),
    ],
)
def test_an_order_that_is_not_sure_is_refused(numbers, found, tmp_path, dicom_slice):
    """A number twice, a gap, none at all: no spacing cures that."""
    folder = series(tmp_path / "ct", dicom_slice, numbers)
    assert refused(folder, spacing=GIVEN).found == found


def test_numbers_may_be_even_without_being_consecutive(tmp_path, dicom_slice):
    """Every second slice is a series too, and the first need not be 1."""
    with open_volume(series(tmp_path / "ct", dicom_slice, [9, 5, 7]), spacing=GIVEN) as volume:
        assert volume.read()[:, 0, 0].tolist() == [5, 7, 9]


@pytest.mark.parametrize("field", ["ImagesInAcquisition", "NumberOfSlices"])
def test_a_series_holds_as_many_slices_as_it_states(field, tmp_path, dicom_slice):
    """Slices that are gone from an end leave no gap between others."""
    whole = series(tmp_path / "ct", dicom_slice, [1, 2, 3], **{field: 3})
    with open_volume(whole, spacing=GIVEN) as volume:
        assert volume.shape == (3, 2, 3)
    (whole / "3.dcm").unlink()
    assert refused(whole, spacing=GIVEN).found == f"states 3 slices ({field}), holds 2"


def test_each_acquisition_states_its_own_images(tmp_path, dicom_slice):
    """Two acquisitions in one series, three slices and one; more slices than stated are other reconstructions."""
    folder = series(tmp_path / "ct", dicom_slice, [1, 2, 3], AcquisitionNumber=1, ImagesInAcquisition=3)
    fourth = {"InstanceNumber": 4, "ImagePositionPatient": None, "AcquisitionNumber": 2}
    dicom_slice(folder / "x.dcm", np.full((2, 3), 4, np.uint16), ImagesInAcquisition=1, **fourth)
    with open_volume(folder, spacing=GIVEN) as volume:
        assert volume.shape == (4, 2, 3)
    dicom_slice(folder / "x.dcm", np.full((2, 3), 4, np.uint16), ImagesInAcquisition=2, **fourth)
    assert refused(folder, spacing=GIVEN).found == "states 2 slices (ImagesInAcquisition), holds 1"


def test_a_file_of_one_frame_holds_one(tmp_path, dicom_slice):
    """Pixels of more frames than the header states are no slice with something behind it."""
    dicom_slice(tmp_path / "a.dcm", np.zeros((2, 3), np.uint16), SliceThickness=2, PixelData=bytes(3 * 12))
    with (
        open_volume(tmp_path / "a.dcm") as volume,
        pytest.raises(FormatError, match="the file states 1 frame, holds 3"),
    ):
        volume.read()


def test_frames_that_are_not_described_are_numbered_slices(tmp_path, dicom_slice):
    """Secondary capture of many frames says nothing of their place: a spacing cures it, as with many files."""
    frames = np.arange(4 * 2 * 3, dtype=np.uint16).reshape(4, 2, 3)
    changes = {"NumberOfFrames": 4, "PixelData": frames.tobytes(), "ImageOrientationPatient": None}
    path = dicom_slice(tmp_path / "a.dcm", frames[0], **changes)
    assert isinstance(refused(path), SpacingMissing)
    with open_volume(path, spacing=GIVEN) as volume:
        np.testing.assert_array_equal(volume.read(), frames)
    dicom_slice(path, frames[0], **changes | {"PixelData": frames[:3].tobytes()})
    with open_volume(path, spacing=GIVEN) as volume, pytest.raises(FormatError, match="states 4 frames, holds 3"):
        volume.read()
    dicom_slice(path, frames[0], FrameTime=40, **changes)
    assert "4 frames that follow each other in time" in refused(path, spacing=GIVEN).found


def test_colours_of_a_palette_are_no_grey_values(tmp_path, dicom_slice):
    """An index into a table of colours says nothing of brightness."""
    dicom_slice(tmp_path / "a.dcm", np.zeros((2, 3), np.uint16), PhotometricInterpretation="PALETTE COLOR")
    assert "a colour picture" in refused(tmp_path / "a.dcm").found
