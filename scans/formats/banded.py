"""Sources whose chunks reach through many slices: a chunk is unpacked once for all the slabs that lie in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats.errors import FormatError
from scans.formats.sources import VoxelSource
from scans.geometry import Triple

_BAND_BYTES = 256 << 20
"""Of voxels that are kept between two slabs."""
_MOST_TIMES = 64
"""That a chunk is unpacked while a volume is read."""


@dataclass
class BandedSource:
    """Reads whole bands, as thick as the chunks or as memory allows, and keeps the last one."""

    source: VoxelSource
    thickness: int
    """Slices of a band."""
    _start: int = 0
    _band: NDArray[Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, path: Path, source: VoxelSource, *, depth: int) -> VoxelSource:
        """The source itself if its chunks are one slice thick, or else by bands.

        Raises FormatError where `depth`, the chunks' number of slices, is so large that each chunk would have to be
        unpacked again and again.
        """
        shape = source.shape
        depth = min(depth, max(shape[0], 1))
        fits = max(1, _BAND_BYTES // max(1, shape[1] * shape[2] * source.dtype.itemsize))
        if depth > fits * _MOST_TIMES:
            found = f"chunks that reach through {depth} slices of {shape[1]} x {shape[2]} voxels"
            raise FormatError(path, found, "chunks of fewer slices: 64, for example")
        return cls(source, min(depth, fits)) if depth > 1 else source

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what `read` returns."""
        return self.source.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop), a (stop - start, Y, X) array that is the caller's own."""
        if start % self.thickness == 0 and (stop % self.thickness == 0 or stop == self.shape[0]):
            return self.source.read(start, stop)
        pieces = []
        at = start
        while at < stop:
            first = at // self.thickness * self.thickness
            end = min(stop, first + self.thickness)
            pieces.append(self._whole(first)[at - first : end - first])
            at = end
        return np.concatenate(pieces)

    def _whole(self, first: int) -> NDArray[Any]:
        if self._band is None or self._start != first:
            self._band = None
            self._band = self.source.read(first, min(first + self.thickness, self.shape[0]))
            self._start = first
        return self._band
