"""Formats that are a header and then the voxels, x fastest, plain or deflated: NIfTI, NRRD, MetaImage."""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

GZIP_LEVEL = 4
"""Segmentations shrink a hundredfold at any level; this one is fast."""


@dataclass(frozen=True)
class FlatWriter:
    """Appends voxels to an open stream."""

    stream: BinaryIO | BufferedIOBase

    def write(self, slab: NDArray[Any]) -> None:
        """The next slices, contiguous, of the type that the header names."""
        self.stream.write(slab.reshape(-1).view(np.uint8).data)


def gzip_stream(file: BinaryIO, stack: ExitStack) -> BufferedIOBase:
    """A gzip stream without name and time, at the file's present position."""
    return stack.enter_context(gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0))
