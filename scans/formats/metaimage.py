"""MetaImage (.mha, .mhd), read slab by slab. The voxels may be raw or deflated.

Lengths are mm unless the header names another unit.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from scans.formats.beside import Beside
from scans.formats.errors import GREY_VALUES, ONE_VOLUME, WHOLE_FILE, FormatError, NoSpacing
from scans.formats.sources import Opened, placed_frame
from scans.formats.streams import FlatSource, Layout, open_zlib
from scans.formats.textheader import TextHeader, kept, read_text_header
from scans.formats.units import LengthUnit, unit_of
from scans.geometry import Frame, Spacing, Triple

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
TYPE_NAMES = {code: name for name, code in _TYPES.items() if name not in ("MET_LONG", "MET_ULONG")}
"""MetaImage's name of each NumPy type code."""


def open_metaimage(path: Path, stack: ExitStack, beside: Beside | None = None) -> Opened:
    """A MetaImage with its voxels inside, or in a file beside it. Raises FormatError for what is not one volume.

    `beside` is the file where it is an archive's.
    """
    files = beside or Beside.on_disk(path)
    file = stack.enter_context(files.file.open())
    header = read_text_header(path, file, separator="=", last_field="elementdatafile")
    sizes = header.numbers("dimsize")
    channels = header.number("elementnumberofchannels", 1)
    header.require("ndims")
    if len(sizes) != header.number("ndims", 0):
        raise FormatError(path, f"damaged: NDims {header.number('ndims', 0)}, DimSize {sizes}", WHOLE_FILE)
    named = ", ".join(f"{name} {size}" for name, size in zip("xyztuvw", sizes, strict=False))
    if any(size < 1 for size in sizes):
        raise FormatError(path, f"empty: axes of {named}", f"{ONE_VOLUME}, none of them of size 0")
    if channels != 1 or len(sizes) < 3 or any(size != 1 for size in sizes[3:]):
        raise FormatError(path, f"{len(sizes)} axes: {named}, channels {channels}", ONE_VOLUME)
    x, y, z = sizes[:3]
    source = _source(files, header, (z, y, x), stack)
    return Opened.placed(source, partial(_frame, header, len(sizes)))


def _source(files: Beside, header: TextHeader, shape: Triple, stack: ExitStack) -> FlatSource:
    path, kind = files.file.path, header.require("elementtype")
    if kind not in _TYPES:
        raise FormatError(path, f"voxels of MetaImage type {kind}", GREY_VALUES)
    if not _true(header.get("binarydata", "True")):
        raise FormatError(path, "voxels written as text", "a MetaImage with BinaryData = True")
    big = _true(header.get("binarydatabyteordermsb", header.get("elementbyteordermsb", "False")))
    stored = np.dtype(_TYPES[kind]).newbyteorder(">" if big else "<")
    name, data, offset = header.require("elementdatafile"), files.file, header.end
    if name.upper() != "LOCAL":
        data, offset = files.voxels(name), 0
    skip = header.number("headersize", 0)
    if skip == -1:
        skip = data.size - math.prod(shape) * stored.itemsize - offset
    packed, present = header.number("compresseddatasize", 0), data.size - offset
    if packed > present:
        raise FormatError(path, f"truncated: states {packed} bytes of packed voxels, holds {present}", WHOLE_FILE)
    decoder = open_zlib if _true(header.get("compresseddata", "False")) else None
    return Layout(data, shape, stored, offset=offset, skip=skip, decoder=decoder).open(stack)


def _frame(header: TextHeader, axes: int) -> Frame:
    field = _first(header, "elementspacing", "elementsize")
    if not (steps := header.decimals(field)):
        raise NoSpacing("the MetaImage header has no ElementSpacing")
    units = _units(header)
    x, y, z = (value * unit.mm for value, unit in zip(steps[:3], units, strict=True))
    places = header.decimals(_first(header, "offset", "position", "origin")) or [0.0, 0.0, 0.0]
    ox, oy, oz = (value * unit.mm for value, unit in zip(places[:3], units, strict=True))
    cosines = header.decimals(_first(header, "transformmatrix", "rotation", "orientation"))
    direction = np.eye(3)
    if cosines:
        rows = np.array(cosines).reshape(axes, axes)
        direction = rows[:3, :3].T
    what = f"the MetaImage header's {field} {header.get(field)!r}"

    def frame() -> Frame:
        return Frame.from_lps(Spacing(z=z, y=y, x=x), (ox, oy, oz), direction, units=kept(units))

    return placed_frame(what, frame)


def _units(header: TextHeader) -> list[LengthUnit]:
    """Of x, y and z: one for all, as the format has it; mm where the header names none."""
    return [unit_of(header.get("distanceunits", "mm"))] * 3


def _first(header: TextHeader, *keys: str) -> str:
    """Of the names that a field has had, the first that is there."""
    return next((key for key in keys if key in header.fields), keys[0])


def _true(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "t")
