"""What is kept of a DICOM series beside a copy of its voxels: what a segmentation has to say of it, as JSON.

That are patient and study as they came, the series with its frame of reference, and each slice's object and place.
Neither pixel data nor private elements are among it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement

PATIENT_GROUPS = (0x0010, 0x0012)
"""Patient, and clinical trial: kept whole."""
_STUDY = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "StudyDate", "StudyTime", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "StudyDescription", "ProcedureCodeSequence",
    "PhysiciansOfRecord", "AdmittingDiagnosesDescription", "StudyInstanceUID", "StudyID",
)  # fmt: skip
_SERIES = (
    "Modality", "Manufacturer", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "BodyPartExamined",
    "Laterality", "FrameOfReferenceUID", "PositionReferenceIndicator", "SliceThickness", "LossyImageCompression",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
_KEPT = frozenset(tag for keyword in (*_STUDY, *_SERIES) if (tag := tag_for_keyword(keyword)) is not None)
_NO_JSON = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
"""Types of values that are as large as a file likes."""
_MOST_VALUE_BYTES = 1 << 14
"""Of any other; a text of so many letters is not about a patient."""
Json = dict[str, Any]


@dataclass(frozen=True)
class SliceObject:
    """One slice, upwards as the voxels have them."""

    sop_class: str
    sop_instance: str
    frame: int | None
    """From 1; None for an object of a single slice."""
    position: tuple[float, float, float]
    """Centre of its first pixel, LPS+, mm."""


@dataclass(frozen=True)
class DicomSeries:
    """A series whose voxels are elsewhere."""

    common: pydicom.Dataset
    """What all slices say alike, as the first one says it: patient, study, series."""
    slices: tuple[SliceObject, ...]
    axes: tuple[float, ...]
    """Directions of increasing column, then row, LPS+: six cosines."""
    pixel_mm: tuple[float, float]
    """Distance between rows, then between columns."""

    def to_json(self) -> bytes:
        """What `from_json` reads back."""
        listed = [[one.sop_class, one.sop_instance, one.frame, list(one.position)] for one in self.slices]
        content = {
            "common": self.common.to_json_dict(suppress_invalid_tags=True),
            "slices": listed,
            "axes": list(self.axes),
            "pixel_mm": list(self.pixel_mm),
        }
        return json.dumps(content).encode()

    @classmethod
    def from_json(cls, content: bytes) -> DicomSeries:
        """From what `to_json` gave. Raises ValueError for anything else."""
        try:
            read = json.loads(content)
            rows, columns = map(float, read["pixel_mm"])
            axes = tuple(map(float, read["axes"]))
            slices = tuple(_slice(*one) for one in read["slices"])
            return cls(pydicom.Dataset.from_json(read["common"]), slices, axes, (rows, columns))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"these are no headers of a series: {type(error).__name__} {error}") from error


def kept_of(header: pydicom.Dataset) -> pydicom.Dataset:
    """Of a slice's header, what is kept: no pixels, nothing private, no blobs."""
    kept = pydicom.Dataset()
    for tag in header.keys():  # noqa: SIM118 - iterating over a data set decodes each of its values
        if tag.is_private or not (tag in _KEPT or tag.group in PATIENT_GROUPS):
            continue
        stored = header.get_item(tag)
        if isinstance(stored, RawDataElement) and stored.length > _MOST_VALUE_BYTES:
            continue
        element = header[tag]
        if element.VR not in _NO_JSON:
            kept.add(element)
    kept.remove_private_tags()
    return kept


def _slice(sop_class: Any, sop_instance: Any, frame: Any, position: Sequence[Any]) -> SliceObject:
    x, y, z = map(float, position)
    return SliceObject(str(sop_class), str(sop_instance), None if frame is None else int(frame), (x, y, z))
