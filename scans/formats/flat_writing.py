"""Formats that are a header and then the voxels, x fastest, plain or deflated: NIfTI, NRRD, MetaImage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

DEFLATE_LEVEL = 1
"""Of ISA-L: as small as zlib's 4 for grey values, a quarter larger for labels, at 6 to 20 times its speed."""

_GZIP = 31
_PIECE = 1 << 20


@dataclass(frozen=True)
class FlatWriter:
    """Appends voxels to a stream."""

    stream: BinaryIO

    def write(self, slab: NDArray[Any]) -> None:
        """The next slices, contiguous, of the type that the header names."""
        self.stream.write(_bytes(slab))

    def finish(self) -> None:
        """Nothing follows the voxels."""


@dataclass(frozen=True)
class GzipWriter:
    """Appends voxels to a stream, as one gzip member without name and time.

    ISA-L's output depends on the pieces in which it gets its input; so they are cut at the same places whatever the
    slabs are: each slice begins a piece.
    """

    stream: BinaryIO
    _encoder: Any = field(default_factory=lambda: isal_zlib.compressobj(DEFLATE_LEVEL, isal_zlib.DEFLATED, _GZIP))

    def write_header(self, header: bytes) -> None:
        """What comes before the voxels and is deflated as they are."""
        self.stream.write(self._encoder.compress(header))

    def write(self, slab: NDArray[Any]) -> None:
        """The next slices, contiguous, of the type that the header names."""
        for plane in slab:
            content = _bytes(plane)
            for start in range(0, len(content), _PIECE):
                self.stream.write(self._encoder.compress(content[start : start + _PIECE]))

    def finish(self) -> None:
        """The end of the member: checksum and length."""
        self.stream.write(self._encoder.flush())


def _bytes(voxels: NDArray[Any]) -> memoryview:
    return voxels.reshape(-1).view(np.uint8).data
