"""MetaImage (.mha), deflated, its voxels in the file."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from scans.formats.flat_writing import DEFLATE_LEVEL
from scans.formats.metaimage import TYPE_NAMES
from scans.formats.writing import SlabWriter, Target

_SIZE_DIGITS = 20


@dataclass
class _DeflateWriter:
    file: BinaryIO
    size_at: int
    """Where the header leaves room for the number of compressed bytes."""
    begin: int
    _encoder: Any = field(default_factory=lambda: isal_zlib.compressobj(DEFLATE_LEVEL))

    def write(self, slab: NDArray[Any]) -> None:
        self.file.write(self._encoder.compress(slab.reshape(-1).view(np.uint8).data))

    def finish(self) -> None:
        self.file.write(self._encoder.flush())
        size = self.file.tell() - self.begin
        self.file.seek(self.size_at)
        self.file.write(f"{size:0{_SIZE_DIGITS}d}".encode())


def create_metaimage(target: Target, stack: ExitStack) -> SlabWriter:
    """A .mha file, whose bytes depend on nothing but the volume."""
    file = stack.enter_context(target.path.open("wb"))
    x, y, z = target.shape[::-1]
    spacing, frame = target.frame.spacing, target.frame
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        "CompressedDataSize = ",
    ]
    begin = "\n".join(lines)
    lines = [
        "",
        f"TransformMatrix = {_numbers(frame.direction.T.ravel())}",
        f"Offset = {_numbers(frame.origin)}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_numbers((spacing.x, spacing.y, spacing.z))}",
        f"DimSize = {x} {y} {z}",
        f"ElementType = {TYPE_NAMES[target.dtype.str[1:]]}",
        "ElementDataFile = LOCAL\n",
    ]
    file.write((begin + "0" * _SIZE_DIGITS + "\n".join(lines)).encode("ascii"))
    writer = _DeflateWriter(file, size_at=len(begin), begin=file.tell())
    stack.callback(writer.finish)
    return writer


def _numbers(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)
