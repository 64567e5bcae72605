"""A DICOM Segmentation of a series: which object it is, which slices it is of, and a mask of each organ that is there.

It is of the binary type, one bit a pixel and one frame for each slice of each organ, which every program reads that
reads segmentations; label maps, of one byte a pixel for all organs, are younger (supplement 243), and few do.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from scans.formats.dicom_series import DicomSeries, SliceObject
from scans.formats.errors import NotSegmentable
from scans.geometry import Triple
from scans.organs import Organ

if TYPE_CHECKING:
    import highdicom

_MOST_VOXELS = 1 << 28
"""Of a volume that becomes a segmentation: it is all in memory."""
_MOST_FRAMES = 1 << 14
"""Slices of organs, each of which is described on its own."""
_MOST_MASK_BYTES = 1 << 28
"""Of all these frames together, of one bit a pixel."""
_FRAME_BYTES = 50 << 10
"""That a frame's description takes."""
MOST_BYTES = 3 * _MOST_VOXELS + _FRAME_BYTES * _MOST_FRAMES + 2 * _MOST_MASK_BYTES
"""About as many as making one takes at most."""
_OTHERS = "fetch it as nii.gz, nrrd, tif or ome-zarr"
_SERIES_NUMBER = 8100
"""Of the segmentation's series: large, so that viewers list it after the images."""
_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
)  # fmt: skip
"""What every object has to have, though it may say nothing."""
_MANUFACTURER = "Ricefish"


@dataclass(frozen=True)
class Authorship:
    """What segmented a series."""

    name: str
    version: str
    """Of the model."""
    made: datetime
    """When the result is said to have been made; it is written in UTC."""
    entropy: str
    """What tells this result from all others: with the same, the objects have the same UIDs."""
    corrected: bool = False
    """People have put right what the model answered."""


def dicom_segmentation(
    labels: NDArray[np.uint8], organs: Sequence[Organ], series: DicomSeries, by: Authorship
) -> bytes:
    """The file: class indices, uint8 (Z, Y, X) of the series' slices upwards, as a multi-segment DICOM Segmentation.

    A segment for each organ of which there is a voxel, numbered from 1 in the order of their indices, since DICOM wants
    no gaps; its label is the organ's name, its description says the class index. It refers to study, series and frame
    of reference of the source, and each frame to the slice that it is of. The same arguments give the same bytes.

    Raises NotSegmentable where the series' headers lack what it must refer to, where there is no organ, and above
    256 Mi voxels, 16,384 frames or 256 MiB of masks. Memory: `needed_bytes`.
    """
    require_segmentable(series, labels.shape)
    found = _found(labels, organs)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # what the headers say comes as it came
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    numbers = np.zeros(256, np.uint8)
    numbers[[organ.index for organ in found]] = np.arange(1, len(found) + 1)
    order = _order(series.slices)
    try:
        made = _segmentation(numbers[labels if order is None else labels[order]], found, series, by)
        content = io.BytesIO()
        made.save_as(content)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise NotSegmentable(f"the headers of the DICOM series do not allow it: {error}") from error
    return content.getvalue()


def needed_bytes(shape: Triple, organs: int) -> int:
    """About as many as making one takes, of a volume of that shape with so many organs in every slice."""
    z, y, x = shape
    frames = min(_MOST_FRAMES, z * organs)
    return 3 * z * y * x + _FRAME_BYTES * frames + 2 * min(_MOST_MASK_BYTES, frames * y * x // 8)


def require_segmentable(series: DicomSeries, shape: tuple[int, ...]) -> None:
    """Raises NotSegmentable, as `dicom_segmentation` does, for what is known without any voxel."""
    voxels = int(np.prod(shape, dtype=np.int64))
    if voxels > _MOST_VOXELS:
        raise NotSegmentable(
            f"the scan has {voxels} voxels, and a DICOM segmentation {_MOST_VOXELS} at most; {_OTHERS}"
        )
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if not series.common.get(keyword):
            raise NotSegmentable(f"the DICOM series has no {keyword}, to which a DICOM segmentation refers")
    if any(not one.sop_instance or not one.sop_class for one in series.slices):
        raise NotSegmentable("a slice of the DICOM series has no SOPInstanceUID, to which a DICOM segmentation refers")
    instances = {one.sop_instance for one in series.slices}
    framed = sum(one.frame is not None for one in series.slices)
    if (framed and len(instances) > 1) or (not framed and len(instances) < len(series.slices)):
        raise NotSegmentable(
            "the slices are spread over several files of many frames, or share a SOPInstanceUID; a DICOM segmentation "
            "refers to one such file, or to files of one slice each"
        )
    if len(series.slices) != shape[0]:
        raise NotSegmentable(f"{len(series.slices)} slices were kept of the headers, and the scan has {shape[0]}")


def _found(labels: NDArray[np.uint8], organs: Sequence[Organ]) -> list[Organ]:
    """The organs that have a voxel. Raises NotSegmentable where none has, or too many slices of them are there."""
    there = np.array([np.bincount(plane.ravel(), minlength=256) > 0 for plane in labels])
    found = [organ for organ in organs if there[:, organ.index].any()]
    if not found:
        raise NotSegmentable("no organ was found, and a DICOM segmentation has at least one segment")
    frames = int(sum(np.count_nonzero(there[:, organ.index]) for organ in found))
    if frames > _MOST_FRAMES or frames * labels[0].size // 8 > _MOST_MASK_BYTES:
        raise NotSegmentable(
            f"the organs are in {frames} slices, those of each organ counted; a DICOM segmentation is made of "
            f"{_MOST_FRAMES} at most, that take {_MOST_MASK_BYTES} bytes; {_OTHERS}"
        )
    return found


def _order(slices: Sequence[SliceObject]) -> NDArray[np.intp] | None:
    """Of a file of many frames, which slice each frame is; None for files of one slice."""
    frames = [one.frame for one in slices if one.frame is not None]
    return np.argsort(frames) if frames else None


def _segmentation(
    numbers: NDArray[np.uint8], organs: Sequence[Organ], series: DicomSeries, by: Authorship
) -> highdicom.seg.Segmentation:
    import highdicom  # noqa: PLC0415  a second, for those alone who want DICOM

    made = highdicom.seg.Segmentation(
        source_images=_sources(series, numbers.shape),
        pixel_array=numbers,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(number, organ, by) for number, organ in enumerate(organs, 1)],
        series_instance_uid=generate_uid(entropy_srcs=[by.entropy, "series"]),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=generate_uid(entropy_srcs=[by.entropy, "instance"]),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name=by.name[:64],
        software_versions=by.version[:64],
        device_serial_number="0",
        content_label="ORGANS",
        content_description="Organs, segmented by a network",
        series_description="Organs (Ricefish)",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
    )
    _date(made, by)
    return made


def _sources(series: DicomSeries, shape: tuple[int, ...]) -> list[pydicom.Dataset]:
    """The source as it is referred to: an object for each slice, or one of all frames."""
    if series.slices[0].frame is None:
        return [_source(series, shape, one) for one in series.slices]
    return [_source_of_frames(series, shape)]


def _source(series: DicomSeries, shape: tuple[int, ...], one: SliceObject) -> pydicom.Dataset:
    source = pydicom.Dataset()
    source.update(series.common)
    for keyword in _EMPTY:
        if keyword not in source:
            setattr(source, keyword, "")
    source.SOPClassUID, source.SOPInstanceUID = one.sop_class, one.sop_instance
    source.Rows, source.Columns = shape[1:]
    source.ImagePositionPatient = _decimals(one.position)
    source.ImageOrientationPatient = _decimals(series.axes)
    source.PixelSpacing = _decimals(series.pixel_mm)
    if not source.get("SliceThickness"):
        source.SliceThickness = DSfloat(_step_mm(series), auto_format=True)
    return source


def _source_of_frames(series: DicomSeries, shape: tuple[int, ...]) -> pydicom.Dataset:
    source = _source(series, shape, series.slices[0])
    source.NumberOfFrames = shape[0]
    measures, orientation, shared = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = source.PixelSpacing, source.SliceThickness
    orientation.ImageOrientationPatient = source.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    source.SharedFunctionalGroupsSequence = [shared]
    source.PerFrameFunctionalGroupsSequence = [
        _frame(one) for one in sorted(series.slices, key=lambda one: one.frame or 0)
    ]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(source, keyword)
    return source


def _frame(one: SliceObject) -> pydicom.Dataset:
    position, frame = pydicom.Dataset(), pydicom.Dataset()
    position.ImagePositionPatient = _decimals(one.position)
    frame.PlanePositionSequence = [position]
    return frame


def _step_mm(series: DicomSeries) -> float:
    """From one slice to the next, along the normal; 1 where there is one slice."""
    if len(series.slices) == 1:
        return 1.0
    normal = np.cross(series.axes[:3], series.axes[3:])
    way = np.subtract(series.slices[-1].position, series.slices[0].position)
    return float(abs(way @ normal) / np.linalg.norm(normal) / (len(series.slices) - 1))


def _description(number: int, organ: Organ, by: Authorship) -> highdicom.seg.SegmentDescription:
    import highdicom  # noqa: PLC0415  as in `_segmentation`

    kinds = highdicom.seg.SegmentAlgorithmTypeValues
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=by.name[:64], version=by.version[:64], family=codes.DCM.ArtificialIntelligence
    )
    described = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=organ.name[:64],
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Organ,
        algorithm_type=kinds.SEMIAUTOMATIC if by.corrected else kinds.AUTOMATIC,
        algorithm_identification=algorithm,
        display_color=highdicom.color.CIELabColor.from_rgb(*organ.colour),
    )
    described.SegmentDescription = f"Class index {organ.index} of {by.name}"[:1024]
    return described


def _date(made: highdicom.seg.Segmentation, by: Authorship) -> None:
    """Has the object say when the result was made, and not when it was asked for; nothing of it is by chance."""
    at = by.made.astimezone(UTC)
    for name in ("Content", "InstanceCreation", "Series"):
        if f"{name}Date" in made:
            setattr(made, f"{name}Date", at.strftime("%Y%m%d"))
            setattr(made, f"{name}Time", at.strftime("%H%M%S"))
    for item in made.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = at.strftime("%Y%m%d%H%M%S")
    organization = generate_uid(entropy_srcs=[by.entropy, "dimensions"])
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization


def _decimals(values: Sequence[float]) -> list[DSfloat]:
    return [DSfloat(value, auto_format=True) for value in values]
