"""Volume: voxels that are read slab by slab, and the frame that places them in space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from scans.geometry import Box, Frame, Spacing, Triple


class Voxels(Protocol):
    """Grey values or labels that need not be in memory. Axes are z, y, x."""

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native-endian bool-free integer or float type of what `read` returns."""
        ...

    @property
    def plain(self) -> bool:
        """Whether the file holds the voxels as they are, one after another: a slab is read from its place."""
        ...

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop) as a (stop - start, Y, X) array; raises FormatError where the file is damaged.

        Reading upwards, slab after slab, is the fast way for every format; any order is right.
        """
        ...


@dataclass(frozen=True)
class ArrayVoxels:
    """Voxels that are in memory, or in anything that slices like an array (memmap, HDF5 data set, Zarr array)."""

    array: Any

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        z, y, x = self.array.shape
        return (int(z), int(y), int(x))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one voxel."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def plain(self) -> bool:
        """Nothing has to be decoded."""
        return True

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop)."""
        return np.asarray(self.array[start:stop])


@dataclass(frozen=True)
class Volume:
    """A scan or a segmentation: lazy (Z, Y, X) voxels with their place in space."""

    voxels: Voxels
    frame: Frame
    notes: tuple[str, ...] = ()
    """What whoever brought it should know of how it was read, a sentence each."""
    source_headers: Callable[[], bytes | None] | None = field(default=None, repr=False, compare=False)
    """Gives what is to be kept of a file's headers beside a copy of its voxels, for results that have to refer to it:
    of a DICOM series `DicomSeries.to_json`, or None where that cannot be said. Of other formats nothing is kept."""

    @classmethod
    def from_array(cls, array: NDArray[Any], spacing: Spacing | Frame) -> Volume:
        """A volume of a (Z, Y, X) array in memory, with spacing in mm or a whole frame."""
        frame = spacing if isinstance(spacing, Frame) else Frame.from_lps(spacing)
        return cls(ArrayVoxels(array), frame)

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        return self.voxels.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one voxel."""
        return self.voxels.dtype

    @property
    def plain(self) -> bool:
        """Whether the file holds the voxels as they are, one after another: a slab is read from its place."""
        return self.voxels.plain

    @property
    def spacing(self) -> Spacing:
        """Distance between voxel centres in mm."""
        return self.frame.spacing

    @property
    def box(self) -> Box:
        """All voxels."""
        return Box.of_shape(self.shape)

    def slab(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop), clipped to the volume, as a (z, Y, X) array; none where that leaves nothing."""
        first = min(max(0, start), self.shape[0])
        return self.voxels.read(first, max(first, min(stop, self.shape[0])))

    def slabs(self, depth: int) -> Iterator[tuple[Box, NDArray[Any]]]:
        """The whole volume upwards in slabs of at most `depth` slices, each with the box that it fills.

        Raises ValueError if `depth` < 1.
        """
        if depth < 1:
            raise ValueError(f"a slab of {depth} slices; it must hold at least 1")
        z, y, x = self.shape
        for start in range(0, z, depth):
            stop = min(start + depth, z)
            yield Box((start, 0, 0), (stop, y, x)), self.voxels.read(start, stop)

    def read(self) -> NDArray[Any]:
        """Every voxel at once, (Z, Y, X): for volumes that are known to be small."""
        return self.voxels.read(0, self.shape[0])


def voxels_crc32(slab: NDArray[Any]) -> int:
    """CRC-32 of voxels in native byte order, x fastest: of the values, however a file packs them."""
    return isal_zlib.crc32(np.ascontiguousarray(slab).reshape(-1).view(np.uint8))
