"""Moments of labels: how many voxels each has, where they lie and how far they spread, added up slab by slab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scans.geometry import Box, Frame, Triple
from scans.organs import NOT_LABELLED

_NOWHERE = Box((0, 0, 0), (0, 0, 0))
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""The two axes, of z, y, x, of each second moment."""
_VOXEL_SPREAD = 1 / 12
"""Variance within a voxel along each of its axes, in voxels: those of its middle alone would leave it out."""

SecondMoments = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Moments:
    """Of the voxels of one label, or of several: exact integers, so that no order of adding up changes them."""

    voxels: int = 0
    first: Triple = (0, 0, 0)
    """Sums of their indices along z, y, x."""
    second: SecondMoments = (0, 0, 0, 0, 0, 0)
    """Sums of the products of indices: zz, yy, xx, zy, zx, yx."""
    box: Box = _NOWHERE
    """The smallest that holds them."""

    def __add__(self, other: Moments) -> Moments:
        z, y, x = (a + b for a, b in zip(self.first, other.first, strict=True))
        zz, yy, xx, zy, zx, yx = (a + b for a, b in zip(self.second, other.second, strict=True))
        return Moments(self.voxels + other.voxels, (z, y, x), (zz, yy, xx, zy, zx, yx), self.box | other.box)

    @classmethod
    def of(cls, mask: NDArray[np.bool_], start: Triple = (0, 0, 0)) -> Moments:
        """Of a mask (z, y, x), cropped to what it holds, whose first voxel has the index `start` in the volume."""
        planes = [np.add.reduce(mask, axis=axis, dtype=np.int64) for axis in (2, 1, 0)]  # zy, zx, yx
        profiles = (planes[0].sum(axis=1), planes[0].sum(axis=0), planes[1].sum(axis=0))
        indices = [np.arange(side) for side in mask.shape]
        voxels = int(profiles[0].sum())
        sums = [int(profile @ index) for profile, index in zip(profiles, indices, strict=True)]
        own = [int(profile @ index**2) for profile, index in zip(profiles, indices, strict=True)]
        mixed = [
            int(indices[a] @ plane @ indices[b]) for plane, (a, b) in zip(planes, ((0, 1), (0, 2), (1, 2)), strict=True)
        ]
        z, y, x = (total + voxels * first for total, first in zip(sums, start, strict=True))
        zz, yy, xx, zy, zx, yx = (
            value + start[a] * sums[b] + start[b] * sums[a] + voxels * start[a] * start[b]
            for value, (a, b) in zip((*own, *mixed), _PAIRS, strict=True)
        )
        box = Box.of_shape(_triple(mask.shape)).shifted(start)
        return cls(voxels, (z, y, x), (zz, yy, xx, zy, zx, yx), box)

    def centre_mm(self, frame: Frame) -> NDArray[np.float64]:
        """Their middle, x, y, z in mm, RAS+. Raises ValueError where there are none."""
        if not self.voxels:
            raise ValueError("no voxels have no middle")
        z, y, x = (total / self.voxels for total in self.first)
        return np.array(frame.world_mm((z, y, x)))

    def covariance_mm2(self, frame: Frame) -> NDArray[np.float64]:
        """How they spread about their middle, (3, 3) of x, y, z in mm2, each voxel as the box that it is.

        Raises ValueError where there are none.
        """
        if not self.voxels:
            raise ValueError("no voxels have no spread")
        indexed = np.zeros((3, 3))
        for value, (a, b) in zip(self.second, _PAIRS, strict=True):  # exact up to the division
            indexed[a, b] = indexed[b, a] = (self.voxels * value - self.first[a] * self.first[b]) / self.voxels**2
        steps = frame.matrix[:3, :3]
        spread: NDArray[np.float64] = steps @ (indexed[::-1, ::-1] + _VOXEL_SPREAD * np.eye(3)) @ steps.T
        return spread


def label_moments(labels: NDArray[np.uint8], box: Box) -> dict[int, Moments]:
    """Of each label in a slab, uint8 (z, Y, X), that fills `box` of a volume. NOT_LABELLED is none."""
    found = {}
    for index, place in enumerate(ndimage.find_objects(labels, max_label=NOT_LABELLED - 1), 1):
        if place is not None:
            first = _triple(tuple(along.start + start for along, start in zip(place, box.start, strict=True)))
            found[index] = Moments.of(labels[place] == index, first)
    return found


def added(one: Mapping[int, Moments], other: Mapping[int, Moments]) -> dict[int, Moments]:
    """The moments of two parts of a volume together."""
    return {index: one.get(index, Moments()) + other.get(index, Moments()) for index in (*one, *other)}


def together(moments: Mapping[int, Moments]) -> Moments:
    """Of all labels as one."""
    return reduce(Moments.__add__, moments.values(), Moments())


def _triple(values: tuple[int, ...]) -> Triple:
    z, y, x = values
    return (z, y, x)
