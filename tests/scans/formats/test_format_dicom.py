"""DICOM series: order along the normal, rescaling, and everything that may be wrong with a folder of slices."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, RLELossless

from scans.formats import FormatError, SpacingMissing, open_volume
from scans.geometry import Spacing

PLANE = np.array([[0, 1, 2], [3, 4, 5]], np.uint16)


def series(folder, dicom_slice, heights, **changes):
    folder.mkdir(exist_ok=True)
    for index, height in enumerate(heights):
        plane = np.full((2, 3), index, np.uint16)
        dicom_slice(folder / f"{index}.dcm", plane, **{"ImagePositionPatient": [0, 0, height]} | changes)
    return folder


def found(path):
    with pytest.raises(FormatError) as caught, open_volume(path):
        pass
    return caught.value.found


def test_slices_are_ordered_by_position_and_not_by_name(tmp_path, dicom_series, voxels):
    """The lowest slice along the normal is the first; spacing and origin are the slices' own."""
    with open_volume(dicom_series(tmp_path / "ct", voxels)) as volume:
        np.testing.assert_array_equal(volume.read(), voxels)
        assert volume.spacing == Spacing(z=2.0, y=0.5, x=0.25)
        assert volume.frame.origin == (1.0, 2.0, 3.0)


def test_oblique_slices_keep_their_direction(tmp_path, dicom_slice):
    """Sagittal slices: columns run along y, rows down along -z, the normal is -x; so the greatest x comes first."""
    folder = tmp_path / "ct"
    folder.mkdir()
    for index in range(3):
        plane = np.full((2, 3), index, np.uint16)
        place = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": [4.0 * index, 5.0, 6.0]}
        dicom_slice(folder / f"{index}.dcm", plane, **place)
    with open_volume(folder) as volume:
        assert volume.read()[:, 0, 0].tolist() == [2, 1, 0]
        assert volume.frame.origin == (8.0, 5.0, 6.0)
        np.testing.assert_array_equal(volume.frame.direction, [[0, 0, -1], [1, 0, 0], [0, -1, 0]])
        assert volume.spacing == Spacing(z=4.0, y=0.5, x=0.25)


@pytest.mark.parametrize(
    ("slope", "intercept", "bits", "dtype", "last"),
    [
        (1, -1024, 12, np.int16, -1019.0),
        (1, -1024, 16, np.int32, -1019.0),
        (None, None, 15, np.int16, 5.0),
        (0.5, 1, 16, np.float32, 3.5),
        (1, 0.5, 16, np.float32, 5.5),
    ],
)
def test_values_are_rescaled(slope, intercept, bits, dtype, last, tmp_path, dicom_slice):
    """Grey value = stored x slope + intercept, in whole numbers where they stay whole: 5 - 1024 = -1019."""
    changes = {"RescaleSlope": slope, "RescaleIntercept": intercept, "BitsStored": bits, "HighBit": bits - 1}
    dicom_slice(tmp_path / "a.dcm", PLANE, SliceThickness=2, **changes)
    with open_volume(tmp_path / "a.dcm") as volume:
        assert volume.dtype == dtype
        assert volume.read()[0, 1, 2] == last
        assert volume.spacing.z == 2.0


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path, dicom_slice):
    """A gap of 4 mm among gaps of 2 mm is one slice too few."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2, 4, 8, 10])
    assert found(path) == "4 mm between 2.dcm and 3.dcm, 2 mm between most slices: 1 missing"


def test_uneven_gaps_are_named(tmp_path, dicom_slice):
    """A gap that is no multiple of the others is told as it is."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2, 4, 7, 9])
    assert found(path) == "3 mm between 2.dcm and 3.dcm, 2 mm between most slices"


def test_rounded_positions_are_even_enough(tmp_path, dicom_slice):
    """Positions are stored as decimal text; 0.33, 0.34 and 0.33 mm are the same."""
    with open_volume(series(tmp_path / "ct", dicom_slice, [0, 0.33, 0.67, 1.0])) as volume:
        assert volume.spacing.z == pytest.approx(1 / 3)


def test_doubled_slices_are_named(tmp_path, dicom_slice):
    """Two slices at one place are two volumes in one folder, or a copy."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2, 2, 4])
    assert found(path) == "1.dcm and 2.dcm lie at the same place"


def test_slices_that_are_shifted_sideways_are_refused(tmp_path, dicom_slice):
    """A slice that is off the line through the others would be drawn where it is not."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2, 4, 6])
    dicom_slice(path / "2.dcm", PLANE, ImagePositionPatient=[5.0, 0, 4])
    assert found(path) == "2.dcm is shifted sideways by 5 mm"


def test_two_series_are_told_apart(tmp_path, dicom_slice):
    """Both series are named with how many slices each has."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2, 4])
    dicom_slice(path / "other.dcm", PLANE, SeriesInstanceUID="9.9", ImagePositionPatient=[0, 0, 6])
    assert found(path) == "2 DICOM series: 1.2.3.4 (3 slices), 9.9 (1 slices)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Rows": 3, "Columns": 2}, r"x\.dcm \(3, 2\) pixels"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "lie at an angle"),
        ({"PixelSpacing": [0.5, 0.5]}, "differ in PixelSpacing"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, r"x\.dcm is a colour picture"),
        ({"NumberOfFrames": 2}, r"x\.dcm, frame 1 does not say where it lies"),
        ({"ImagePositionPatient": None}, r"x\.dcm does not say where it lies"),
    ],
)
def test_a_slice_that_does_not_belong_is_named(changes, message, tmp_path, dicom_slice):
    """Another size, angle or pixel size, colour, several frames, no position."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2])
    dicom_slice(path / "x.dcm", PLANE, **{"ImagePositionPatient": [0, 0, 4]} | changes)
    with pytest.raises(FormatError, match=message), open_volume(path):
        pass


def test_junk_notes_and_objects_without_pixels_are_left_out(tmp_path, dicom_slice):
    """Finder's and Windows' files, a DICOMDIR, a text, and contours lie in many a folder."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2])
    for name in (".DS_Store", "Thumbs.db", "DICOMDIR", "notes.txt", "._0.dcm"):
        (path / name).write_bytes(b"x")
    dicom_slice(path / "contours.dcm", PLANE, Rows=None, Columns=None, PixelData=None)
    with open_volume(path) as volume:
        assert volume.shape == (2, 2, 3)


@pytest.mark.parametrize(("content", "message"), [(b"", "5.dcm is empty"), (b"garbage", "5.dcm is no slice")])
def test_a_damaged_slice_is_not_passed_over(content, message, tmp_path, dicom_slice):
    """Leaving a bad file out would make a gap that nobody sees."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2])
    (path / "5.dcm").write_bytes(content)
    assert message in found(path)


def test_a_slice_with_too_few_pixels_is_named_when_it_is_read(tmp_path, dicom_slice):
    """The header is whole, the pixels are not."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2])
    dicom_slice(path / "1.dcm", PLANE, ImagePositionPatient=[0, 0, 2], PixelData=b"\0\0\0\0")
    with open_volume(path) as volume:
        volume.slab(0, 1)
        with pytest.raises(FormatError, match=r"pixels of 1\.dcm cannot be decoded"):
            volume.slab(1, 2)


@pytest.mark.parametrize("kind", ["implicit", "explicit", "meta"])
def test_files_without_prefix_are_read(kind, tmp_path, dicom_slice, zipped):
    """The data set alone, with or without kinds of values, or after the file's description; alone, and in a zip."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2, 4])
    with open_volume(path) as volume:
        expected = volume.read()
    for file in path.iterdir():
        content = pydicom.dcmread(file)
        content.SOPClassUID, content.SOPInstanceUID, content.Modality = CTImageStorage, "1.2.3", "CT"
        if kind == "meta":
            content.save_as(file)
            file.write_bytes(file.read_bytes()[132:])
        else:
            del content.file_meta
            content.preamble = None
            pydicom.dcmwrite(file, content, implicit_vr=kind == "implicit", little_endian=True)
        assert file.read_bytes()[128:132] != b"DICM"
    for place in (path, zipped(path, tmp_path / "a.zip")):
        with open_volume(place) as volume:
            np.testing.assert_array_equal(volume.read(), expected)
    with open_volume(path / "0.dcm", spacing=Spacing(2.0, 0.5, 0.25)) as volume:
        assert volume.shape[0] == 1


def test_a_file_without_prefix_is_not_guessed(tmp_path):
    """Text, numbers and voxels that begin with a small tag are no DICOM."""
    for start in (b"\x08\0\x05\0 words and words and words", b"\x02\0\0\0" * 40, bytes(200), b"\x08\0" * 100):
        (tmp_path / "a.dcm").write_bytes(start + bytes(600))
        with pytest.raises(FormatError, match="an unknown format"), open_volume(tmp_path / "a.dcm"):
            pass


def test_a_rounded_pixel_spacing_is_the_same(tmp_path, dicom_slice):
    """One slice says 0.095833, the next 0.09583333; a thousandth more is another."""
    path = tmp_path / "ct"
    path.mkdir()
    for number, spacing in enumerate((0.09583333, 0.095833, 0.0958)):
        dicom_slice(path / f"{number}.dcm", PLANE, PixelSpacing=[spacing] * 2, ImagePositionPatient=[0, 0, number])
    with open_volume(path) as volume:
        assert volume.spacing.x == pytest.approx(0.09583333)
    dicom_slice(path / "2.dcm", PLANE, PixelSpacing=[0.0961] * 2, ImagePositionPatient=[0, 0, 2])
    assert "differ in PixelSpacing" in found(path)


def test_slices_without_pixel_spacing_ask_for_it(tmp_path, dicom_slice):
    """A spacing that is given is then used."""
    path = series(tmp_path / "ct", dicom_slice, [0, 2], PixelSpacing=None)
    with pytest.raises(SpacingMissing, match="PixelSpacing"), open_volume(path):
        pass
    with open_volume(path, spacing=Spacing(2.0, 1.0, 1.0)) as volume:
        assert volume.spacing == Spacing(2.0, 1.0, 1.0)


def enhanced(path, planes, heights, *, per_frame=False, packed=False, **changes):
    """One file of many frames, as enhanced CT is written; shared groups hold what each frame does not state."""
    content = pydicom.Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.SOPClassUID, content.SOPInstanceUID = EnhancedCTImageStorage, "1.2.3"
    content.SeriesInstanceUID, content.Modality = "1.2.3.4", "CT"
    content.Rows, content.Columns = planes.shape[1:]
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated, content.BitsStored, content.HighBit, content.PixelRepresentation = 16, 16, 15, 0
    content.NumberOfFrames = len(planes)
    measures = item(PixelSpacing=[0.5, 0.25], SliceThickness=2.0)
    values = item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    plane = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    common = {
        "PixelMeasuresSequence": [measures],
        "PlaneOrientationSequence": [plane],
        "PixelValueTransformationSequence": [values],
    }
    content.SharedFunctionalGroupsSequence = [item(**({} if per_frame else common))]
    content.PerFrameFunctionalGroupsSequence = [
        item(**placed(height), **(common if per_frame else {})) for height in heights
    ]
    content.PixelData = planes.tobytes()
    for name, value in changes.items():
        setattr(content, name, value)
    if packed:
        content.compress(RLELossless)
    content.save_as(path, enforce_file_format=True)
    return path


def placed(height):
    return {} if height is None else {"PlanePositionSequence": [item(ImagePositionPatient=[1, 2, height])]}


def item(**fields):
    one = pydicom.Dataset()
    for name, value in fields.items():
        setattr(one, name, value)
    return one


FRAMES = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6) + 1024


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_an_enhanced_file_is_a_volume_of_its_frames(per_frame, packed, tmp_path, zipped):
    """In the order of their places, rescaled, with the geometry of shared groups or of their own, in a zip, too."""
    (tmp_path / "ct").mkdir()
    path = enhanced(tmp_path / "ct" / "a.dcm", FRAMES, [7, 3, 5, 1], per_frame=per_frame, packed=packed)
    for place in (path, path.parent, zipped(path.parent, tmp_path / "a.zip")):
        with open_volume(place) as volume:
            np.testing.assert_array_equal(volume.read(), FRAMES[[3, 1, 2, 0]].astype(np.int32) - 1024)
            np.testing.assert_array_equal(volume.slab(1, 3), FRAMES[[1, 2]].astype(np.int32) - 1024)
            assert tuple(volume.spacing) == pytest.approx((2.0, 0.5, 0.25))
    if not packed:
        image = sitk.ReadImage(str(path))
        assert image.GetOrigin()[:2] == (1.0, 2.0)


@pytest.mark.parametrize(
    ("heights", "changes", "said"),
    [
        ([1, 3, 3, 5], {}, r"a\.dcm, frame 2 and a\.dcm, frame 3 lie at the same place"),
        ([1, 3, 7, 9], {}, r"4 mm between a\.dcm, frame 2 and a\.dcm, frame 3"),
        ([1, 3, 5, 7], {"NumberOfFrames": 5}, r"a\.dcm states 5 frames, and describes 4"),
        ([1, 3, 5, 7], {"PixelData": FRAMES[:3].tobytes()}, "the file states 4 frames, holds 3"),
        ([1, 3, 5, 7], {"PixelData": FRAMES.tobytes() * 2}, "the file states 4 frames, holds 8"),
    ],
)
def test_frames_that_make_no_volume_are_named(heights, changes, said, tmp_path):
    """By their numbers, and with what the file states."""
    path = enhanced(tmp_path / "a.dcm", FRAMES, heights, **changes)
    with pytest.raises(FormatError, match=said), open_volume(path) as volume:
        volume.read()


def test_described_frames_without_a_place_are_numbered_slices(tmp_path):
    """A spacing cures them, as it does frames that are not described; refusals name the file, and not its folder."""
    path = enhanced(tmp_path / "a.dcm", FRAMES, [None] * 4)
    with pytest.raises(SpacingMissing, match=r"a\.dcm: the DICOM slices have no ImagePositionPatient"):
        open_volume(path).__enter__()
    with open_volume(path, spacing=Spacing(3, 2, 1)) as volume:
        np.testing.assert_array_equal(volume.read(), FRAMES.astype(np.int32) - 1024)
    path = enhanced(tmp_path / "b.dcm", FRAMES, [None] * 4, FrameTime=40)
    with pytest.raises(FormatError, match=r"/b\.dcm: b\.dcm holds 4 frames that follow each other in time"):
        open_volume(path, spacing=Spacing(3, 2, 1)).__enter__()
