"""MetaImage (.mha), its voxels in the file, plain.

A deflated one states its deflated size in the header, before anyone can know it; ITK reads wrong voxels without it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from scans.formats.flat_writing import FlatWriter
from scans.formats.metaimage import TYPE_NAMES
from scans.formats.writing import FormatWriter, Target


def create_metaimage(target: Target, stack: ExitStack) -> FormatWriter:
    """A .mha file."""
    x, y, z = target.shape[::-1]
    spacing, frame = target.frame.spacing, target.frame
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        f"TransformMatrix = {_numbers(frame.direction.T.ravel())}",
        f"Offset = {_numbers(frame.origin)}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_numbers((spacing.x, spacing.y, spacing.z))}",
        f"DimSize = {x} {y} {z}",
        f"ElementType = {TYPE_NAMES[target.dtype.str[1:]]}",
        "ElementDataFile = LOCAL\n",
    ]
    file = target.output(stack)
    file.write("\n".join(lines).encode("ascii"))
    return FlatWriter(file)


def _numbers(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)
