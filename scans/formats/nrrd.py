"""NRRD (.nrrd, .seg.nrrd, .nhdr), read slab by slab. The voxels may be raw or gzip.

Lengths are mm unless the header names units, one for each axis. Directions in a space that is not named are taken as
LPS, as ITK does.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from scans.formats.beside import Beside
from scans.formats.errors import GREY_VALUES, ONE_VOLUME, WHOLE_FILE, FormatError, NoSpacing
from scans.formats.segments import MOST_LAYERS, LayeredSource, organs_of, read_segments
from scans.formats.sources import CheckedVoxels, Opened, placed_frame
from scans.formats.streams import FlatSource, Layout
from scans.formats.textheader import TextHeader, kept, read_text_header
from scans.formats.units import MM, LengthUnit, unit_of
from scans.geometry import Frame, Triple
from scans.organs import OrganMap

_TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_NAME_OF_CODE = {code: names.split("|")[-2 if "|" in names else 0] for code, names in _TYPES.items()}
_CODE_OF_TYPE = {name: code for code, names in _TYPES.items() for name in names.split("|")}
_DECODERS: dict[str, Any] = {"raw": None, "gzip": igzip.open, "gz": igzip.open}
_MOST_AXES = 16
"""As many as the format has."""
_LONGEST_VECTOR = 1000
"""Characters of one vector, or of the units of all axes."""
_SPATIAL_KINDS = {"domain", "space", "???", "none"}
_RAS_FROM = {
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
}


def type_name(dtype: np.dtype[Any]) -> str:
    """NRRD's name of an integer or floating point type."""
    return _NAME_OF_CODE[dtype.str[1:]]


def open_nrrd(path: Path, stack: ExitStack, beside: Beside | None = None) -> Opened:
    """A NRRD file with its voxels inside, or in a file beside it. Raises FormatError for what is not one volume.

    `beside` is the file where it is an archive's.
    """
    files = beside or Beside.on_disk(path)
    return _opened(files, _header(files, stack), stack, layers=1)


def open_segments(path: Path, stack: ExitStack, organs: OrganMap, by_name: bool = False) -> Opened | None:
    """3D Slicer's segmentation as class indices of `organs`, its layers merged; None for a file without segments.

    Raises FormatError where names, numbers and organs contradict each other, unless names count `by_name`, and later
    where segments overlap.
    """
    files, layers = Beside.on_disk(path), 1
    header = _header(files, stack)
    if header.words("kinds")[:1] in (["list"], ["vector"]) and len(header.words("kinds")) > 3:
        layers, header = header.numbers("sizes")[0], _without_list(header)
    segments = read_segments(path, header.pairs, layers=layers)
    if not segments:
        return None
    if not 1 <= layers <= MOST_LAYERS:
        raise FormatError(path, f"damaged, or {layers} layers of segments", f"from 1 to {MOST_LAYERS} layers")
    opened = _opened(files, header, stack, layers=layers)
    found = organs_of(path, segments, organs, by_name=by_name)
    stored = CheckedVoxels.of(path, opened.source)
    return replace(opened, source=LayeredSource.of(path, stored, layers=layers, found=found, organs=organs))


def _header(files: Beside, stack: ExitStack) -> TextHeader:
    file = stack.enter_context(files.file.open())
    return read_text_header(files.file.path, file, separator=":", ends_with_blank_line=True)


def _without_list(header: TextHeader) -> TextHeader:
    """The header of one layer, for a file whose first axis is a list of them."""
    fields = {
        **header.fields,
        "dimension": str(header.number("dimension", 0) - 1),
        "sizes": " ".join(header.words("sizes")[1:]),
        "kinds": " ".join(header.words("kinds")[1:]),
        "space directions": header.get("space directions").strip().removeprefix("none").strip(),
    }
    return replace(header, fields=fields)


def _opened(files: Beside, header: TextHeader, stack: ExitStack, *, layers: int) -> Opened:
    path = files.file.path
    axes = _axes(path, header)
    x, y, z = (header.numbers("sizes")[axis] for axis in axes)
    source = _source(files, header, (z, y, x * layers), stack)
    return Opened.placed(source, partial(_frame, path, header, axes))


def _axes(path: Path, header: TextHeader) -> list[int]:
    sizes = header.numbers("sizes")
    kinds = [kind.lower() for kind in header.words("kinds", " ".join(["domain"] * len(sizes)))]
    vectors = _vectors(header) or [np.zeros(3)] * len(sizes)
    header.require("dimension")
    if not len(sizes) == len(kinds) == len(vectors) == header.number("dimension", 0) <= _MOST_AXES:
        found = f"{len(sizes)} sizes, {len(kinds)} kinds, {len(vectors)} directions"
        raise FormatError(path, f"damaged: {found}, dimension {header.number('dimension', 0)}", WHOLE_FILE)
    named = ", ".join(f"{kind} {size}" for kind, size in zip(kinds, sizes, strict=True))
    if any(size < 1 for size in sizes):
        raise FormatError(path, f"empty: axes of {named}", f"{ONE_VOLUME}, none of them of size 0")
    axes = [
        axis
        for axis, size in enumerate(sizes)
        if size > 1 or (vectors[axis] is not None and kinds[axis] in _SPATIAL_KINDS)
    ]
    while len(axes) > 3 and sizes[axes[-1]] == 1:
        axes.pop()
    if len(axes) != 3 or any(kinds[axis] not in _SPATIAL_KINDS for axis in axes):
        raise FormatError(path, f"{len(sizes)} axes, fastest first: {named}", ONE_VOLUME)
    return axes


def _source(files: Beside, header: TextHeader, shape: Triple, stack: ExitStack) -> FlatSource:
    path, kind, encoding = files.file.path, header.require("type").lower(), header.require("encoding").lower()
    if kind not in _CODE_OF_TYPE:
        raise FormatError(path, f"voxels of NRRD type {kind}", GREY_VALUES)
    if encoding not in _DECODERS:
        raise FormatError(path, f"voxels in {encoding} encoding", "NRRD with encoding raw or gzip")
    stored = np.dtype(_CODE_OF_TYPE[kind])
    if stored.itemsize > 1:
        stored = stored.newbyteorder({"little": "<", "big": ">"}[header.require("endian").lower()])  # type: ignore[arg-type]
    if header.number("line skip", 0):
        raise FormatError(path, "a line skip before the voxels", "NRRD without line skip")
    skip, data, offset = header.number("byte skip", 0), files.file, header.end
    if name := header.get("data file", header.get("datafile")):
        data, offset = files.voxels(name), 0
    if skip == -1:
        skip = data.size - math.prod(shape) * stored.itemsize - offset
    layout = Layout(data, shape, stored, offset=offset, skip=skip, decoder=_DECODERS[encoding])
    return layout.open(stack)


def _frame(path: Path, header: TextHeader, axes: list[int]) -> Frame:
    vectors = _vectors(header)
    matrix = np.eye(4)
    spatial = [vectors[axis] for axis in axes] if vectors else []
    directions = [_in_space("space directions", vector) for vector in spatial if vector is not None]
    if len(directions) == 3:
        field, units = "space directions", _units(path, header.get("space units"), [0, 1, 2])
        matrix[:3, :3] = np.transpose(directions)
        if origin := header.get("space origin"):
            matrix[:3, 3] = _vector(path, origin)[:3]
    elif steps := header.decimals("spacings"):
        field, units = "spacings", _units(path, header.get("units"), axes)
        matrix[:3, :3] = np.diag([steps[axis] for axis in axes])
    else:
        raise NoSpacing("the NRRD header has neither space directions nor spacings")
    matrix[:3] *= np.array([[unit.mm] for unit in units])
    flip = np.diag([*_RAS_FROM.get(header.get("space", "").lower(), (-1, -1, 1)), 1.0])
    return placed_frame(field, lambda: Frame.from_affine(flip @ matrix, units=kept(units)))


def _vectors(header: TextHeader) -> list[NDArray[np.float64] | None] | None:
    text = header.get("space directions")
    if not text:
        return None
    vectors: list[NDArray[np.float64] | None] = []
    at = 0
    while at < len(text):
        after = at + 1
        if text.startswith("none", at):
            vectors.append(None)
            after = at + len("none")
        elif text[at] == "(":
            after = text.find(")", at) + 1
            if not after:
                raise FormatError(header.path, f"damaged: no bracket closes in {text[at : at + 80]!r}", "(x,y,z)")
            vectors.append(_vector(header.path, text[at:after]))
        if len(vectors) > _MOST_AXES:
            raise FormatError(header.path, f"damaged: more than {_MOST_AXES} space directions", "one for each axis")
        at = after
    return vectors


def _vector(path: Path, text: str) -> NDArray[np.float64]:
    if len(text) > _LONGEST_VECTOR:
        raise FormatError(path, f"damaged: {text[:80]!r}... as a vector", f"at most {_LONGEST_VECTOR} characters")
    return np.array([float(value) for value in text.strip("() ").split(",")])


def _in_space(text: str, vector: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(vector) < 3 or vector[3:].any():
        raise ValueError(f"{text} is not a vector in space")
    return vector[:3]


def _units(path: Path, text: str, axes: list[int]) -> list[LengthUnit]:
    """The units of three of the axes; mm where the header has none, as everywhere in practice. Raises NoSpacing."""
    if len(text) > _LONGEST_VECTOR or text.count('"') % 2:
        raise FormatError(path, f"damaged: units are {text[:80]!r}", 'a name for each axis, such as "mm" "mm" "mm"')
    if not text:
        return [MM] * 3
    named = text.split('"')[1::2] if '"' in text else text.split()
    named = named * (max(axes) + 1) if len(named) == 1 else named
    if len(named) <= max(axes):
        raise FormatError(path, f"damaged: {len(named)} units, {text[:80]!r}", 'a name for each axis: "mm" "mm" "mm"')
    return [unit_of(named[axis]) for axis in axes]
