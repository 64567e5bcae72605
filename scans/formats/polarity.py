"""Polarity: a file may say that its low values are the bright ones. For a model, high is bright in every file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats.sources import Opened, VoxelSource
from scans.geometry import Triple


def inverted(stored: NDArray[Any], *, bits: int) -> NDArray[Any]:
    """The values in the opposite order, within the same range: that of integers of so many bits, of either sign.

    Floating point has no such range: its values are negated. A bool is turned into its contrary.
    """
    values: NDArray[Any]
    if stored.dtype.kind == "f":
        values = np.negative(stored)
    elif stored.dtype.kind == "u" and bits < 8 * stored.dtype.itemsize:
        values = np.subtract(stored.dtype.type((1 << bits) - 1), stored)
    else:
        values = np.invert(stored)
    return values


@dataclass(frozen=True)
class InvertedSource:
    """The voxels of a source whose low values are bright, with their values inverted."""

    source: VoxelSource
    bits: int
    """Of a value."""

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what `read` returns."""
        return self.source.dtype

    @property
    def plain(self) -> bool:
        """As of the source."""
        return bool(getattr(self.source, "plain", False))

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop), a (stop - start, Y, X) array."""
        return inverted(self.source.read(start, stop), bits=self.bits)


def high_is_bright(opened: Opened, where: str, *, bits: int, mask: bool = False) -> Opened:
    """A file whose low values are bright, as `where` in it says, with them inverted.

    Read as labels, its voxels stay what is stored, the numbers of classes, unless it is a `mask`: black and white.
    """
    bright = InvertedSource(opened.source, bits)
    return replace(opened, source=bright, labels=bright if mask else opened.source, inverted=where)
