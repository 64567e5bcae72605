"""TIFF, one page per slice, deflated; voxel size as ImageJ states it, in the units of the scan where
it was a TIFF, else in mm. BigTIFF where 4 GB might not do.

Written from front to back: a page's pixels, then its directory. A directory says where the next one is, which depends
on how small the next page's pixels become; so the writer is one compressed page ahead of what it writes.

Labels have a palette, in which Fiji shows them. To all others they are plain values: of pages that are said to be
indices of colours (photometric 3) ITK would make colours.
"""

from __future__ import annotations

import json
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from scans.formats.flat_writing import DEFLATE_LEVEL
from scans.formats.label_names import COLOURS, tiff_palette
from scans.formats.tiff_spacing import AFFINE_KEY, TIFF
from scans.formats.units import UNITS, in_unit
from scans.formats.writing import FormatWriter, Target

_MOST = 2**32 - 1
_CLASSIC_BYTES = 2**32 - 1
_DIRECTORY_BYTES = 2048
"""More than a page's directory takes in classic TIFF (1768), with rationals, the name of the software and a palette."""
_SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}

_ASCII, _SHORT, _LONG, _RATIONAL, _LONG8 = 2, 3, 4, 5, 16
_BYTES = {_ASCII: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8, _LONG8: 8}
_CODES = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}

Tag = tuple[int, int, Any]
"""Number, type and value."""


@dataclass(frozen=True)
class _Layout:
    """The differences between TIFF and BigTIFF."""

    big: bool

    @property
    def header_bytes(self) -> int:
        return 16 if self.big else 8

    @property
    def offset_type(self) -> int:
        return _LONG8 if self.big else _LONG

    def header(self, first_directory: int) -> bytes:
        """The start of the file."""
        if self.big:
            return struct.pack("<2sHHHQ", b"II", 43, 8, 0, first_directory)
        return struct.pack("<2sHI", b"II", 42, first_directory)

    def directory(self, tags: list[Tag], *, at: int, following: int) -> bytes:
        """A directory that stands at offset `at`, its long values behind it, and the offset of the next one in it."""
        inline, count_code, offset_code = (8, "Q", "Q") if self.big else (4, "H", "I")
        head = struct.calcsize(f"<{count_code}")
        beyond = at + head + len(tags) * (12 + 2 * (inline - 4)) + inline
        entries, values = [], b""
        for number, kind, value in sorted(tags):
            content = _packed(kind, value)
            count = len(content) // _BYTES[kind]
            if len(content) <= inline:
                place = content.ljust(inline, b"\0")
            else:
                place = struct.pack(f"<{offset_code}", beyond + len(values))
                values += content + b"\0" * (len(content) % 2)
            entries.append(struct.pack(f"<HH{offset_code}", number, kind, count) + place)
        chain = struct.pack(f"<{offset_code}", following)
        return struct.pack(f"<{count_code}", len(tags)) + b"".join(entries) + chain + values


def _packed(kind: int, value: Any) -> bytes:
    if kind == _ASCII:
        return str(value).encode() + b"\0"
    if kind == _RATIONAL:
        return struct.pack("<II", *value)
    values = value if isinstance(value, tuple) else (value,)
    return struct.pack(f"<{len(values)}{_CODES[kind]}", *values)


@dataclass
class _PageWriter:
    stream: BinaryIO
    layout: _Layout
    common: list[Tag]
    """Tags of every page."""
    description: str
    """Of the first page."""
    _position: int = 0
    _pages: int = 0
    _waiting: bytes | None = None

    def write(self, slab: NDArray[Any]) -> None:
        for plane in slab:
            pixels = isal_zlib.compress(plane.reshape(-1).view(np.uint8).data, level=DEFLATE_LEVEL)
            if self._waiting is None:
                self._append(self.layout.header(_even(self.layout.header_bytes + len(pixels))))
            else:
                self._append_page(following=pixels)
            self._waiting = pixels

    def finish(self) -> None:
        """The last page, which points to no other."""
        self._append_page(following=None)

    def _append_page(self, *, following: bytes | None) -> None:
        pixels = self._waiting or b""
        offset_type = self.layout.offset_type
        tags = [*self.common, (273, offset_type, self._position), (279, offset_type, len(pixels))]
        if self._pages == 0:
            tags.append((270, _ASCII, self.description))
        at = _even(self._position + len(pixels))
        length = len(self.layout.directory(tags, at=at, following=0))
        target = 0 if following is None else _even(at + length + len(following))
        self._append(pixels + bytes(at - self._position - len(pixels)))
        self._append(self.layout.directory(tags, at=at, following=target))
        self._pages += 1

    def _append(self, content: bytes) -> None:
        self.stream.write(content)
        self._position += len(content)


def create_tiff(target: Target, stack: ExitStack) -> FormatWriter:
    """A .tif file that ImageJ, Fiji and napari open as one stack with its voxel size."""
    depth, height, width = target.shape
    x_unit, y_unit, _ = (UNITS[symbol] for symbol in target.frame.units_in(TIFF))
    spacing = target.frame.spacing
    common: list[Tag] = [
        (256, _LONG, width),
        (257, _LONG, height),
        (258, _SHORT, 8 * target.dtype.itemsize),
        (259, _SHORT, 8),  # deflate
        (262, _SHORT, 1),  # 0 is black
        (277, _SHORT, 1),
        (278, _LONG, height),
        (282, _RATIONAL, _per_unit(in_unit(spacing.x, x_unit))),
        (283, _RATIONAL, _per_unit(in_unit(spacing.y, y_unit))),
        (296, _SHORT, 1),  # the unit is in the description
        (305, _ASCII, "Ricefish"),
        (339, _SHORT, _SAMPLE_FORMATS[target.dtype.kind]),
    ]
    if target.organs and target.dtype.itemsize == 1:
        common.append((320, _SHORT, tuple(tiff_palette(target.organs).ravel())))
    description = _description(target)
    page = height * width * target.dtype.itemsize
    most = depth * (page + page // 64 + _DIRECTORY_BYTES) + len(description.encode()) + 64
    return _PageWriter(target.output(stack), _Layout(big=most > _CLASSIC_BYTES), common, description)


def _even(offset: int) -> int:
    """Where a directory may begin that has to come at `offset` or behind it."""
    return offset + offset % 2


def _description(target: Target) -> str:
    depth = target.shape[0]
    x, y, z = target.frame.units_in(TIFF)
    lines = ["ImageJ=1.54f", f"images={depth}", f"slices={depth}", f"unit={x}"]
    lines += [f"{axis}unit={unit}" for axis, unit in (("y", y), ("z", z)) if unit != x]
    lines += [f"spacing={in_unit(target.frame.spacing.z, UNITS[z])!r}"]
    lines += ["loop=false", f"{AFFINE_KEY}={json.dumps([list(row) for row in target.frame.affine])}"]
    if target.organs:
        lines += ["min=0.0", f"max={COLOURS - 1}.0"]  # over which ImageJ stretches the palette
        lines += [f"label_{organ.index}={organ.name}" for organ in target.organs.organs]
    return "\n".join(lines) + "\n"


def _per_unit(spacing: float) -> tuple[int, int]:
    """Pixels per unit of length as a fraction of two 32-bit numbers, to nine digits."""
    rate = 1 / Fraction(spacing)
    nearest = rate.limit_denominator(max(1, int(_MOST / max(1.0, float(rate))) - 1))
    return (nearest.numerator, nearest.denominator) if nearest else (1, round(spacing))
