"""Enhanced DICOM: one file of many frames, each described by functional groups of its own and by shared ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom

from scans.formats.errors import WHOLE_FILE, FormatError

FRAME_TAGS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""What `frame_headers` reads."""

_GROUPS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "FrameContentSequence",
)  # fmt: skip
_ACCEPTED = "one file per slice, or frames with functional groups (enhanced CT and MR)"


def frame_headers(path: Path, name: str, header: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """For each frame a header as a file of a single slice has it.

    Raises FormatError for frames that are not described, and for another number of them than the file states.
    """
    count = int(header.NumberOfFrames)
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        raise FormatError(path, f"{name} holds {count} frames that do not say where they lie", _ACCEPTED)
    if len(frames) != count:
        raise FormatError(path, f"{name} states {count} frames, and describes {len(frames)}", WHOLE_FILE)
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    common = [element for element in header if element.keyword not in FRAME_TAGS]
    for frame in frames:
        one = pydicom.Dataset()
        for element in common:
            one.add(element)
        for described in (shared, frame):
            for group in _GROUPS:
                for item in described.get(group) or ():
                    one.update(item)
        if (number := one.get("InStackPositionNumber")) is not None:
            one.InstanceNumber = number
        yield one
