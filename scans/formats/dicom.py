"""A DICOM series: one file per slice, ordered along the slices' normal, read slice by slice.

Grey values are the modality's (Hounsfield units in CT): stored value x RescaleSlope + RescaleIntercept; int16 or int32
where slope and intercept keep them whole, else float32. Gantry tilt is kept: the step between slices need not be normal
to them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from scans.formats.dicom_geometry import SlicePlace, check_steps, frame_of_slices
from scans.formats.dicom_pixels import META_BYTES, require_readable_syntax, require_stated_size
from scans.formats.entries import Entries
from scans.formats.errors import GREY_VALUES, WHOLE_FILE, FormatError, silence
from scans.formats.sources import Opened
from scans.geometry import Triple

_TAGS = [
    "SeriesInstanceUID", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation",
    "NumberOfFrames", "BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices", "SliceThickness",
]  # fmt: skip


@dataclass(frozen=True)
class _Slice:
    name: str
    series: str
    size: tuple[int, int]
    """Rows, columns."""
    bits: int
    signed: bool
    slope: float
    intercept: float
    place: SlicePlace


def open_dicom(entries: Entries, names: list[str]) -> Opened:
    """The series in these files. Objects without pixels (contours, reports) are left out.

    Raises FormatError for colour and multi-frame files, several series, slices of different size, and for missing,
    doubled or unevenly spaced slices; each names the files.
    """
    silence("pydicom")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    slices = [found for name in names if (found := _read_slice(entries, name))]
    if not slices:
        raise FormatError(entries.path, f"{len(names)} DICOM files without an image", "a series of slices")
    _require_one_series(entries, slices)
    slices.sort(key=lambda one: one.place.height)
    check_steps(entries.path, [(one.name, one.place) for one in slices])
    places = [one.place for one in slices]
    return Opened.placed(_DicomSource(entries, tuple(slices)), partial(frame_of_slices, places))


def _read_slice(entries: Entries, name: str) -> _Slice | None:
    with entries.stream(name) as file:
        require_readable_syntax(entries.path, name, file.read(META_BYTES))
        file.seek(0)
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
    if "Rows" not in header or "Columns" not in header:
        return None
    if header.get("SamplesPerPixel", 1) != 1 or "RGB" in str(header.get("PhotometricInterpretation", "")):
        raise FormatError(entries.path, f"{name} is a colour picture", GREY_VALUES)
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise FormatError(
            entries.path, f"{name} holds {header.NumberOfFrames} frames", "one file per slice (a classic series)"
        )
    if "ImagePositionPatient" not in header or "ImageOrientationPatient" not in header:
        raise FormatError(entries.path, f"{name} does not say where it lies", "slices with ImagePositionPatient")
    return _Slice(
        name=name,
        series=str(header.get("SeriesInstanceUID", "")),
        size=(int(header.Rows), int(header.Columns)),
        bits=int(header.get("BitsStored", 16)),
        signed=bool(header.get("PixelRepresentation", 0)),
        slope=_number(header.get("RescaleSlope"), 1.0),
        intercept=_number(header.get("RescaleIntercept"), 0.0),
        place=SlicePlace.of(header),
    )


def _number(value: Any, default: float) -> float:
    return default if value in (None, "") else float(value)


def _require_one_series(entries: Entries, slices: list[_Slice]) -> None:
    series = Counter(one.series for one in slices)
    if len(series) > 1:
        listed = ", ".join(f"{uid} ({count} slices)" for uid, count in series.most_common(4))
        raise FormatError(entries.path, f"{len(series)} DICOM series: {listed}", "the slices of one series")
    first = slices[0]
    for one in slices:
        if one.size != first.size:
            raise FormatError(
                entries.path, f"{first.name} is {first.size}, {one.name} {one.size} pixels", "slices of one size"
            )
        if not np.allclose(one.place.axes, first.place.axes, atol=1e-3):
            raise FormatError(entries.path, f"{first.name} and {one.name} lie at an angle", "parallel slices")
        if one.place.pixel_mm != first.place.pixel_mm:
            raise FormatError(entries.path, f"{first.name} and {one.name} differ in PixelSpacing", "one PixelSpacing")


@dataclass(frozen=True)
class _DicomSource:
    entries: Entries
    slices: tuple[_Slice, ...]

    @property
    def shape(self) -> Triple:
        return (len(self.slices), *self.slices[0].size)

    @property
    def dtype(self) -> np.dtype[Any]:
        whole = all(one.slope == 1 and one.intercept.is_integer() for one in self.slices)
        if not whole:
            return np.dtype(np.float32)
        least = min(one.intercept - (2 ** (one.bits - 1) if one.signed else 0) for one in self.slices)
        greatest = max(one.intercept + 2 ** (one.bits - one.signed) - 1 for one in self.slices)
        for kind in (np.int16, np.int32):
            if np.iinfo(kind).min <= least and greatest <= np.iinfo(kind).max:
                return np.dtype(kind)
        return np.dtype(np.float32)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        slab = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for out, one in zip(slab, self.slices[start:stop], strict=True):
            out[...] = self._read_one(one)
        return slab

    def _read_one(self, one: _Slice) -> NDArray[Any]:
        with self.entries.open(one.name) as file:
            content = pydicom.dcmread(file)
            stored = self._pixels(one, content)
        if stored.shape != one.size:
            raise FormatError(self.entries.path, f"{one.name} holds {stored.shape} pixels, not {one.size}", WHOLE_FILE)
        if self.dtype.kind == "f":
            return stored.astype(np.float64) * one.slope + one.intercept
        return stored.astype(np.int64) + int(one.intercept)

    def _pixels(self, one: _Slice, content: pydicom.Dataset) -> NDArray[Any]:
        try:
            require_stated_size(content, one.size)
            return content.pixel_array
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise FormatError(
                self.entries.path, f"the pixels of {one.name} cannot be decoded: {reason}", WHOLE_FILE
            ) from error
