"""Formats that are a header and then the voxels, x fastest, plain or deflated: NIfTI, NRRD, MetaImage."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, BinaryIO

import numpy as np
from isal import igzip
from numpy.typing import NDArray

DEFLATE_LEVEL = 1
"""Of ISA-L: as small as zlib's 4 for grey values, a quarter larger for labels, at 6 to 20 times its speed."""


@dataclass(frozen=True)
class FlatWriter:
    """Appends voxels to an open stream."""

    stream: BinaryIO | BufferedIOBase

    def write(self, slab: NDArray[Any]) -> None:
        """The next slices, contiguous, of the type that the header names."""
        self.stream.write(slab.reshape(-1).view(np.uint8).data)


def gzip_stream(file: BinaryIO, stack: ExitStack) -> BufferedIOBase:
    """A gzip stream without name and time, at the file's present position."""
    stream: BufferedIOBase = stack.enter_context(igzip.IGzipFile("", "wb", DEFLATE_LEVEL, file, mtime=0))  # type: ignore[no-untyped-call]
    return stream
