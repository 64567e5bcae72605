"""Grids: how the voxels of one volume coincide with those of another, whose axes may run otherwise."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scans.geometry import MOST_SHEAR_DEGREES, Box, Frame, Triple


@dataclass(frozen=True)
class Orientation:
    """An order of axes, each of which may run backwards: z, y, x."""

    axes: Triple
    """The axis of the other array that becomes the first, second and third."""
    backwards: tuple[bool, bool, bool]
    """Whether that axis is turned round."""

    @classmethod
    def nearest(cls, frame: Frame, onto: Frame) -> Orientation:
        """The one in which the axes of an array in `frame` run most nearly as those of `onto` do."""
        cosines = (onto.direction.T @ frame.direction)[::-1, ::-1]
        orders = itertools.permutations(range(3))
        z, y, x = max(orders, key=lambda order: sum(abs(cosines[row, axis]) for row, axis in enumerate(order)))
        return cls((z, y, x), (bool(cosines[0, z] < 0), bool(cosines[1, y] < 0), bool(cosines[2, x] < 0)))

    @property
    def plain(self) -> bool:
        """Whether the slices along z stay what they are, so that a slab of one is a slab of the other."""
        return self.axes[0] == 0 and not self.backwards[0]

    def shape(self, shape: Triple) -> Triple:
        """Of an array of that shape, when its axes run so."""
        z, y, x = (shape[axis] for axis in self.axes)
        return (z, y, x)

    def frame(self, frame: Frame, shape: Triple) -> Frame:
        """Of an array of that shape in that frame, when its axes run so."""
        matrix = frame.matrix
        turned = matrix.copy()
        for column, (axis, backwards) in enumerate(zip(self.axes[::-1], self.backwards[::-1], strict=True)):
            step = matrix[:3, 2 - axis]
            turned[:3, column] = -step if backwards else step
            if backwards:
                turned[:3, 3] += step * (shape[axis] - 1)
        return Frame.from_affine(turned)

    def applied(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """A view of a 3-D array whose axes run so."""
        steps = tuple(slice(None, None, -1 if backwards else 1) for backwards in self.backwards)
        return array.transpose(self.axes)[steps]


def offset_in(frame: Frame, onto: Frame) -> Triple:
    """The voxel of `onto`, z, y, x, that is nearest to the first voxel of `frame`; it may lie outside of the volume."""
    place = np.linalg.solve(onto.matrix, frame.matrix[:, 3])
    x, y, z = (round(float(value)) for value in place[:3])
    return (z, y, x)


def apart_mm(frame: Frame, onto: Frame, box: Box) -> float:
    """The greatest distance between a corner voxel of `box` in `onto`, and where `frame` has it, whose first voxel is
    the first of the box."""
    corners = np.array(list(itertools.product(*((0, max(0, side - 1)) for side in box.shape[::-1]), (1,))))
    start = np.array([*box.start[::-1], 0])
    return float(np.linalg.norm((corners + start) @ onto.matrix.T - corners @ frame.matrix.T, axis=1).max())


def at_right_angles(frame: Frame) -> list[Frame]:
    """What programs that know no shear make of a frame: the nearest one, as a NIfTI's qform states it, and the one with
    the same slices, as ITK reads DICOM. Both have its first voxel and its spacing."""
    matrix = frame.matrix
    sides = np.linalg.norm(matrix[:3, :3], axis=0)
    x, y, z = (matrix[:3, :3] / sides).T
    outer, _, inner = np.linalg.svd(np.column_stack([x, y, z]))
    across = np.cross(x, y) / np.linalg.norm(np.cross(x, y))
    frames = []
    for axes in (outer @ inner, np.column_stack([x, y, across if across @ z > 0 else -across])):
        turned = matrix.copy()
        turned[:3, :3] = axes * sides
        frames.append(Frame.from_affine(turned))
    return frames


def of_shear(frame: Frame) -> str:
    """What to say of a scan whose axes are not at right angles; empty where they are."""
    if frame.shear_degrees <= MOST_SHEAR_DEGREES:
        return ""
    return (
        f"the axes are {frame.shear_degrees:.2g} degrees off right angles, as of a tilted gantry: nrrd keeps that; of "
        "nii.gz, ITK (Slicer, ITK-SNAP) sees the nearest place at right angles, nibabel the true one; ome-zarr and tif "
        "cannot state it"
    )
