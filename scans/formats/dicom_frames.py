"""Enhanced DICOM: one file of many frames, each described by functional groups of its own and by shared ones.

Other files of many frames (secondary capture, as exporters of micro-CT write it) describe none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom

from scans.formats.errors import ONE_VOLUME, WHOLE_FILE, FormatError

_DESCRIBED = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_TIMES = ("FrameTime", "FrameTimeVector")
FRAME_TAGS = (*_DESCRIBED, *_TIMES)
"""What `frame_headers` and `require_stack` read."""

_GROUPS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "FrameContentSequence",
)  # fmt: skip
_MOST_UNDESCRIBED = 1 << 16
"""Frames of a file that describes none of them; of others there are as many as descriptions."""


def frame_headers(path: Path, name: str, header: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """For each described frame a header as a file of a single slice has it; without a place, numbered.

    Raises FormatError for another number of them than the file states, and for frames in time.
    """
    count = int(header.NumberOfFrames)
    frames = header.PerFrameFunctionalGroupsSequence
    if len(frames) != count:
        raise FormatError(path, f"{name} states {count} frames, and describes {len(frames)}", WHOLE_FILE)
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    common = [element for element in header if element.keyword not in _DESCRIBED]
    for index, frame in enumerate(frames, 1):
        one = pydicom.Dataset()
        for element in common:
            one.add(element)
        for described in (shared, frame):
            for group in _GROUPS:
                for item in described.get(group) or ():
                    one.update(item)
        number = one.get("InStackPositionNumber")
        if number is None and one.get("ImagePositionPatient") is None:
            require_stack(path, name, header if one.get("TemporalPositionIndex", 1) == 1 else one)
            number = index
        if number is not None:
            one.InstanceNumber = number
        yield one


def require_stack(path: Path, name: str, header: pydicom.Dataset) -> None:
    """Raises FormatError where the frames of a file that places none are in time, or more than there can be."""
    if any(header.get(tag) is not None for tag in _TIMES) or header.get("TemporalPositionIndex", 1) != 1:
        found = f"{name} holds {header.NumberOfFrames} frames that follow each other in time"
        raise FormatError(path, found, ONE_VOLUME)
    if int(header.NumberOfFrames) > _MOST_UNDESCRIBED:
        found = f"damaged, or {header.NumberOfFrames} frames in {name}"
        raise FormatError(path, found, f"at most {_MOST_UNDESCRIBED} frames")
