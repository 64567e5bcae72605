"""The surfaces of two masks: HD95, ASSD and surface Dice, with the worst case for what was missed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scans.geometry import Box, Spacing, Triple

_ROUNDING = 1e-9
"""A distance of as many mm as the tolerance may come out this much longer, as a share."""


@dataclass(frozen=True)
class SurfaceDistances:
    """How far apart the surfaces of a predicted and a true organ are; all None where the organ is absent from both."""

    hd95_mm: float | None
    """The 95th percentile of the distances from one surface to the other, the greater of the two directions."""
    assd_mm: float | None
    """Mean of the distances of both directions together."""
    surface_dice: float | None
    """Share of the voxels of both surfaces that are within the tolerance of the other, 0..1 (after Nikolov et al. 2018,
    who measure areas)."""

    @classmethod
    def absent(cls) -> SurfaceDistances:
        """Of an organ that is in neither."""
        return cls(None, None, None)

    @classmethod
    def worst(cls, shape: Triple, spacing: Spacing) -> SurfaceDistances:
        """Of an organ that was missed or invented in a volume of that shape, (Z, Y, X)."""
        diagonal = diagonal_mm(shape, spacing)
        return cls(diagonal, diagonal, 0.0)


def surface_distances(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Spacing, *, tolerance_mm: float | None = None
) -> SurfaceDistances:
    """Compares two masks of one organ, bool (Z, Y, X) of the whole volume.

    The surface is every voxel of the mask with a face that is not shared with the mask; distances are between voxel
    centres. `tolerance_mm` is how far off a surface may be to count as right; None: the longest side of a voxel. An
    organ that was missed or invented gets the worst case: the volume's diagonal, which is more than any distance inside
    it, and a surface Dice of 0. Raises ValueError if the shapes differ or are not 3-D.
    """
    if prediction.shape != truth.shape or prediction.ndim != 3:
        raise ValueError(f"masks of shape {prediction.shape} and {truth.shape}; both must be the same (Z, Y, X)")
    predicted_box, true_box = _bounding_box(prediction), _bounding_box(truth)
    if not predicted_box.voxels and not true_box.voxels:
        return SurfaceDistances.absent()
    if not predicted_box.voxels or not true_box.voxels:
        depth, height, width = truth.shape
        return SurfaceDistances.worst((depth, height, width), spacing)
    crop = (predicted_box | true_box).slices
    predicted, true = _surface(prediction[crop]), _surface(truth[crop])
    there = _distance_mm(true, spacing)[predicted]
    back = _distance_mm(predicted, spacing)[true]
    tolerance = (max(spacing) if tolerance_mm is None else tolerance_mm) * (1 + _ROUNDING)
    within = np.count_nonzero(there <= tolerance) + np.count_nonzero(back <= tolerance)
    return SurfaceDistances(
        hd95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd_mm=float((there.sum() + back.sum()) / (there.size + back.size)),
        surface_dice=within / (there.size + back.size),
    )


def diagonal_mm(shape: Triple, spacing: Spacing) -> float:
    """From corner to opposite corner of a volume, outer faces included, in mm."""
    return math.hypot(*(voxels * step for voxels, step in zip(shape, spacing, strict=True)))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of the mask with a neighbour across a face that is outside the mask or outside the array."""
    surface: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return surface


def _distance_mm(surface: NDArray[np.bool_], spacing: Spacing) -> NDArray[np.float64]:
    """Distance of every voxel to the nearest voxel of the surface."""
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~surface, sampling=tuple(spacing))
    return distance


def _bounding_box(mask: NDArray[np.bool_]) -> Box:
    """The smallest box that holds the mask; Box((0, 0, 0), (0, 0, 0)) where the mask is empty."""
    if not mask.any():
        return Box((0, 0, 0), (0, 0, 0))
    z, y, x = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return Box((int(z[0]), int(y[0]), int(x[0])), (int(z[-1]) + 1, int(y[-1]) + 1, int(x[-1]) + 1))
