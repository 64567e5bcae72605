"""How far voxels reach along a body's axes, and on which side of it they lie, added up slab by slab."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Frame, Triple
from scans.shape.body_axes import BodyAxes

_LEFT = 1
"""The place of the axis from right to left among those of a body."""


@dataclass(frozen=True)
class Extent:
    """Of some voxels along the three axes of a body: towards head, left and back."""

    least_mm: tuple[float, float, float] = (np.inf, np.inf, np.inf)
    """From the body's middle to the outermost voxels' middles."""
    most_mm: tuple[float, float, float] = (-np.inf, -np.inf, -np.inf)
    leftness: float = 0.0
    """Voxels left of the body's middle plane less those right of it, what the plane cuts counted by its shares."""

    def __add__(self, other: Extent) -> Extent:
        least, most = np.minimum(self.least_mm, other.least_mm), np.maximum(self.most_mm, other.most_mm)
        return Extent(_point(least), _point(most), self.leftness + other.leftness)


@dataclass(frozen=True)
class BodyCoordinates:
    """Where the voxels of a volume lie along the axes of a body: linear in their indices."""

    axes: BodyAxes
    frame: Frame

    @cached_property
    def _steps(self) -> NDArray[np.float64]:
        """mm along each axis of the body for one voxel along z, y, x: (3, 3)."""
        steps: NDArray[np.float64] = self.axes.matrix @ self.frame.matrix[:3, 2::-1]
        return steps

    @cached_property
    def half_voxel_mm(self) -> NDArray[np.float64]:
        """By which voxels reach beyond their middles along each axis of the body: exact along the scan's own axes."""
        half: NDArray[np.float64] = np.linalg.norm(self._steps, axis=1) / 2
        return half

    def of(self, mask: NDArray[np.bool_], start: Triple) -> Extent:
        """Of the voxels of a mask (z, y, x), whose first voxel has the index `start` in the volume.

        Memory: about 15 bytes for each voxel of the mask.
        """
        offsets = np.array(self.axes.place_mm(self.frame.world_mm((float(start[0]), float(start[1]), float(start[2])))))
        z, y = np.nonzero(mask.any(axis=2))
        if not len(z):
            return Extent()
        rows = mask[z, y]  # of a row, the outermost voxels alone can be the outermost of all
        ends = np.array([rows.argmax(axis=1), mask.shape[2] - 1 - rows[:, ::-1].argmax(axis=1)])
        rising = offsets[:, None] + self._steps[:, :1] * z + self._steps[:, 1:2] * y
        places = rising[:, None, :] + self._steps[:, 2, None, None] * ends
        least, most = places.min(axis=(1, 2)), places.max(axis=(1, 2))
        across = rising[_LEFT, :, None] + self._steps[_LEFT, 2] * np.arange(mask.shape[2])
        return Extent(_point(least), _point(most), self._leftness(across, rows))

    def _leftness(self, across_mm: NDArray[np.float64], rows: NDArray[np.bool_]) -> float:
        shares = np.clip(across_mm.astype(np.float32) / np.float32(self.half_voxel_mm[_LEFT]), -1, 1)
        return float(shares.sum(where=rows, dtype=np.float64))


def _point(values: NDArray[np.float64]) -> tuple[float, float, float]:
    head, left, back = (float(value) for value in values)
    return (head, left, back)
