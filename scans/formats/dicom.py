"""A DICOM series: one file per slice, or one of many frames, ordered along the slices' normal, read slice by slice.

Grey values are the modality's (Hounsfield units in CT): stored value x RescaleSlope + RescaleIntercept; int16 or int32
where slope and intercept keep them whole, else float32. High ones are bright: MONOCHROME1 is inverted within its stored
bits, which is the same before and after rescaling. Gantry tilt is kept: the step between slices need not be normal to
them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array

from scans.formats.dicom_frames import FRAME_TAGS, frame_headers, require_stack
from scans.formats.dicom_geometry import SlicePlace, check_steps, frame_of_slices, same_pixels
from scans.formats.dicom_order import ORDER_TAGS, SliceNumbers, in_order, require_all
from scans.formats.dicom_pixels import (
    META_BYTES,
    hold_one_frame,
    packed_frames,
    require_readable_syntax,
    require_stated_size,
    with_transfer_syntax,
)
from scans.formats.dicom_series import DicomSeries, SliceObject, kept_of
from scans.formats.entries import Entries
from scans.formats.errors import GREY_VALUES, WHOLE_FILE, FormatError, guarded, silence
from scans.formats.polarity import inverted
from scans.formats.sources import Opened
from scans.geometry import Triple

_TAGS = [
    "SOPClassUID", "SOPInstanceUID",
    "SeriesInstanceUID", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation",
    "NumberOfFrames", "BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices", "SliceThickness", *ORDER_TAGS,
    *FRAME_TAGS,
]  # fmt: skip


_MONOCHROME = "MONOCHROME"
"""How the interpretations of grey values begin."""


@dataclass(frozen=True)
class _Slice:
    name: str
    """As messages call it."""
    file: str
    frame: int
    """Of the file's frames."""
    frames: int
    """That the file states."""
    series: str
    size: tuple[int, int]
    """Rows, columns."""
    bits: int
    signed: bool
    slope: float
    intercept: float
    low_is_bright: bool
    """MONOCHROME1."""
    place: SlicePlace
    numbers: SliceNumbers
    sop_class: str
    sop_instance: str

    @property
    def is_frame(self) -> bool:
        """Whether its file is one of frames, be it the only one."""
        return self.name != self.file


def open_dicom(entries: Entries, names: list[str]) -> Opened:
    """The series in these files. Objects without pixels (contours, reports) are left out.

    Slices that do not say where they lie are in the order of their InstanceNumber, and need a spacing. Raises
    FormatError for colour, frames in time, several series, slices of different size, and for missing,
    doubled or unevenly spaced slices; each names the files.
    """
    silence("pydicom")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    slices = [one for name in names for one in _read_slices(entries, name)]
    if not slices:
        raise FormatError(entries.path, f"{len(names)} DICOM files without an image", "a series of slices")
    _require_one_series(entries, slices)
    require_all(entries.path, [one.numbers for one in slices])
    source = _DicomSource(entries, tuple(_ordered(entries, slices)))
    places = [one.place for one in source.slices]
    opened = Opened.placed(source, partial(frame_of_slices, places), notes=_notes(slices))
    where = "MONOCHROME1" if any(one.low_is_bright for one in slices) else ""
    headers = partial(_kept_headers, source)
    return replace(opened, labels=replace(source, inverts=False), inverted=where, source_headers=headers)


def _kept_headers(source: _DicomSource) -> bytes | None:
    """What is kept of the series beside a copy of its voxels; None where its slices do not say where they lie."""
    first = source.slices[0]
    if any(one.place.position is None for one in source.slices) or first.place.pixel_mm is None:
        return None
    with guarded(source.entries.path / first.file, "reading the header"), source.entries.stream(first.file) as file:
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    objects = tuple(
        SliceObject(one.sop_class, one.sop_instance, one.frame + 1 if one.is_frame else None, one.place.position)
        for one in source.slices
        if one.place.position is not None
    )
    return DicomSeries(kept_of(header), objects, first.place.axes, first.place.pixel_mm).to_json()


def _ordered(entries: Entries, slices: list[_Slice]) -> list[_Slice]:
    """By where they lie, or, where none says that, by their numbers."""
    unplaced = [one for one in slices if not one.place.is_known]
    if not unplaced:
        slices = sorted(slices, key=lambda one: one.place.height)
        check_steps(entries.path, [(one.name, one.place) for one in slices])
        return slices
    if len(unplaced) < len(slices):
        found = f"{unplaced[0].name} does not say where it lies"
        raise FormatError(entries.path, found, "slices with ImagePositionPatient")
    return [slices[index] for index in in_order(entries.path, [(one.name, one.numbers) for one in slices])]


def _notes(slices: list[_Slice]) -> tuple[str, ...]:
    if len(slices) == 1 or slices[0].place.is_known:
        return ()
    return ("the slices do not say where they lie; they are in the order of their InstanceNumber",)


def _read_slices(entries: Entries, name: str) -> list[_Slice]:
    """Those of a file: one, or its frames; none where it is no picture."""
    with guarded(entries.path / name, "reading the slice"), entries.stream(name) as file:
        require_readable_syntax(entries.path, name, file.read(META_BYTES))
        file.seek(0)
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)
    if "Rows" not in header or "Columns" not in header:
        return []
    interpretation = str(header.get("PhotometricInterpretation") or _MONOCHROME).strip().upper()
    if header.get("SamplesPerPixel", 1) != 1 or not interpretation.startswith(_MONOCHROME):
        raise FormatError(entries.path, f"{name} is a colour picture", GREY_VALUES)
    frames = int(header.get("NumberOfFrames") or 1)
    if not header.get("PerFrameFunctionalGroupsSequence"):
        one = _slice(name, header, interpretation)
        return [one] if frames == 1 else _numbered_frames(entries, one, header)
    described = frame_headers(entries.path, name, header)
    return [
        replace(_slice(name, one, interpretation), name=f"{name}, frame {frame + 1}", frame=frame, frames=frames)
        for frame, one in enumerate(described)
    ]


def _numbered_frames(entries: Entries, first: _Slice, header: pydicom.Dataset) -> list[_Slice]:
    """Of a file that does not describe them: slices in order, of which nothing says where they lie."""
    require_stack(entries.path, first.name, header)
    frames, place = int(header.NumberOfFrames), replace(first.place, position=None)
    one = replace(first, place=place, frames=frames)
    return [
        replace(one, name=f"{first.name}, frame {number}", frame=number - 1, numbers=one.numbers.at(number))
        for number in range(1, frames + 1)
    ]


def _slice(name: str, header: pydicom.Dataset, interpretation: str) -> _Slice:
    return _Slice(
        name=name,
        file=name,
        frame=0,
        frames=1,
        series=str(header.get("SeriesInstanceUID", "")),
        size=(int(header.Rows), int(header.Columns)),
        bits=int(header.get("BitsStored", 16)),
        signed=bool(header.get("PixelRepresentation", 0)),
        slope=_number(header.get("RescaleSlope"), 1.0),
        intercept=_number(header.get("RescaleIntercept"), 0.0),
        low_is_bright=interpretation == "MONOCHROME1",
        place=SlicePlace.of(header),
        numbers=SliceNumbers.of(header),
        sop_class=_uid(header, "SOPClassUID"),
        sop_instance=_uid(header, "SOPInstanceUID"),
    )


def _uid(header: pydicom.Dataset, keyword: str) -> str:
    """Of the object, as its data set says or else what stands before it, where the same has to be; empty: nowhere."""
    meta = getattr(header, "file_meta", {})
    return str(header.get(keyword) or meta.get(f"MediaStorage{keyword}") or "")


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
        if one.place.axes != first.place.axes and not np.allclose(one.place.axes, first.place.axes, atol=1e-3):
            raise FormatError(entries.path, f"{first.name} and {one.name} lie at an angle", "parallel slices")
        if not same_pixels(one.place.pixel_mm, first.place.pixel_mm):
            raise FormatError(entries.path, f"{first.name} and {one.name} differ in PixelSpacing", "one PixelSpacing")


@dataclass(frozen=True)
class _DicomSource:
    entries: Entries
    slices: tuple[_Slice, ...]
    inverts: bool = True
    """Slices whose low values are bright, within their bits: grey values, and not labels."""
    kept: dict[str, pydicom.Dataset] = field(default_factory=dict, repr=False, compare=False)
    """By its name, the file of many frames that was read last."""
    packed: dict[str, list[bytes]] = field(default_factory=dict, repr=False, compare=False)
    """By its name, the frames of that file, where they are packed."""

    @property
    def shape(self) -> Triple:
        return (len(self.slices), *self.slices[0].size)

    @cached_property
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

    def _content(self, one: _Slice) -> pydicom.Dataset:
        """The file of a slice; one of many frames is kept for the next of them."""
        if one.file in self.kept:
            return self.kept[one.file]
        self.kept.clear()
        self.packed.clear()
        with guarded(self.entries.path / one.file, "reading the slice"), self.entries.open(one.file) as file:
            content = with_transfer_syntax(pydicom.dcmread(file, force=True))
        if one.frames > 1:
            self.kept[one.file] = content
        return content

    def _read_one(self, one: _Slice) -> NDArray[Any]:
        stored = self._pixels(one, self._content(one))
        if stored.shape != one.size:
            raise FormatError(self.entries.path, f"{one.name} holds {stored.shape} pixels, not {one.size}", WHOLE_FILE)
        if one.low_is_bright and self.inverts:
            stored = inverted(stored, bits=one.bits)
        if self.dtype.kind == "f":
            return stored.astype(np.float64) * one.slope + one.intercept
        return stored.astype(np.int64) + int(one.intercept)

    def _pixels(self, one: _Slice, content: pydicom.Dataset) -> NDArray[Any]:
        try:
            frame, frames = one.frame, one.frames
            if frames > 1 and content.file_meta.TransferSyntaxUID.is_encapsulated:
                if one.file not in self.packed:
                    self.packed[one.file] = packed_frames(content, frames)
                hold_one_frame(content, self.packed[one.file][frame])
                frame, frames = 0, 1
            require_stated_size(content, one.size, frame=frame, frames=frames)
            return pixel_array(content, index=frame)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise FormatError(
                self.entries.path, f"the pixels of {one.name} cannot be decoded: {reason}", WHOLE_FILE
            ) from error
