"""MetaImage (.mha), its voxels in the file, plain.

A deflated one states its deflated size in the header, before anyone can know it; ITK reads wrong voxels without it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from scans.formats.flat_writing import FlatWriter
from scans.formats.metaimage import TYPE_NAMES
from scans.formats.textheader import TEXT_HEADERS
from scans.formats.units import MM, UNITS, LengthUnit, in_unit
from scans.formats.writing import FormatWriter, Target
from scans.geometry import Frame


def create_metaimage(target: Target, stack: ExitStack) -> FormatWriter:
    """A .mha file."""
    x, y, z = target.shape[::-1]
    frame, unit = target.frame, _unit(target.frame)
    spacing = [in_unit(length, unit) for length in (frame.spacing.x, frame.spacing.y, frame.spacing.z)]
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        f"TransformMatrix = {_numbers(frame.direction.T.ravel())}",
        f"Offset = {_numbers([in_unit(length, unit) for length in frame.origin])}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_numbers(spacing)}",
        f"DistanceUnits = {unit.symbol}",
        f"DimSize = {x} {y} {z}",
        f"ElementType = {TYPE_NAMES[target.dtype.str[1:]]}",
        "ElementDataFile = LOCAL\n",
    ]
    file = target.output(stack)
    file.write("\n".join(lines).encode("ascii"))
    return FlatWriter(file)


def _unit(frame: Frame) -> LengthUnit:
    """The unit of the scan, if it is one for all axes: the format knows no other."""
    symbols = set(frame.units_in(TEXT_HEADERS))
    return UNITS[symbols.pop()] if len(symbols) == 1 else MM


def _numbers(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)
