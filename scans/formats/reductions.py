"""Reductions: how a level of a pyramid is made of the finer one, which has twice the voxels along each axis."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Reduction = Literal["stride", "local_mean"]
"""`stride`: every second voxel, so that labels stay labels. `local_mean`: the mean of 2 x 2 x 2, for grey values; both
as OME-Zarr names them (NGFF 0.5, multiscales metadata, `type`)."""

_EXACT_IN_FLOAT32 = 2
"""Bytes of an integer of which eight can be added up in float32 without a rounding."""


def reduced(block: NDArray[Any], reduction: Reduction) -> NDArray[Any]:
    """(z, y, x) -> half as many along each axis, rounded up, of the same type.

    At an odd end the mean is of the voxels that there are. Means of integers are rounded to the nearest, halves to the
    even one. Memory beside the result is that of one slice as float.
    """
    if reduction == "stride":
        return block[::2, ::2, ::2]
    z, y, x = (-(-count // 2) for count in block.shape)
    means = np.empty((z, y, x), block.dtype)
    kind = np.float32 if block.dtype.itemsize <= _EXACT_IN_FLOAT32 or block.dtype == np.float32 else np.float64
    for index in range(z):
        pair = block[2 * index : 2 * index + 2]
        total = pair[0].astype(kind) if len(pair) == 1 else np.add(pair[0], pair[1], dtype=kind)
        mean = _halved(_halved(total, 0), 1) / np.asarray(4 * len(pair), kind)
        means[index] = np.rint(mean) if means.dtype.kind in "iu" else mean
    return means


def _halved(plane: NDArray[Any], axis: int) -> NDArray[Any]:
    """Sums of two neighbours along an axis; a last one without a neighbour counts twice."""
    lines = plane if axis == 0 else plane.T
    first, second = lines[::2], lines[1::2]
    if len(lines) % 2:
        second = np.concatenate([second, lines[-1:]])
    summed: NDArray[Any] = first + second
    return summed if axis == 0 else summed.T
