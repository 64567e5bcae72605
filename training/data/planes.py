"""Planes: a volume as it looks along each of its axes, and copies of volumes whose slices are such planes.

Of axis 0 (z) they are its slices, (Y, X); of axis 1 (y) planes (Z, X), of axis 2 (x) planes (Z, Y).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Triple
from scans.organs import OrganMap
from scans.volume import ArrayVoxels, Volume
from training.data.prepared import CHUNK_SIDE, SliceReader, VolumeRecord
from training.data.volume_writer import store_volume

Axis = Literal[0, 1, 2]
AXES: tuple[Axis, ...] = (0, 1, 2)
ACROSS: tuple[Axis, ...] = (1, 2)
"""The axes along which nobody looks who looks at slices."""


class Planes:
    """An array of (Z, Y, X) that lies in pieces of slices, as one of (planes, rows, columns) across an axis.

    It slices along its first axis alone, `planes[start:stop]`. Whoever reads it upwards has each piece of the array
    decoded once: a chunk's side of planes is in memory at a time, or two where it reads across their border.
    """

    def __init__(self, array: Any, axis: Axis) -> None:
        self._array = array
        self._axis = axis
        self._kept: tuple[int, NDArray[Any]] | None = None

    @property
    def shape(self) -> Triple:
        """Planes, rows and columns."""
        planes, rows, columns = (int(self._array.shape[axis]) for axis in order_of(self._axis))
        return (planes, rows, columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's."""
        dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        return dtype

    def __getitem__(self, asked: slice) -> NDArray[Any]:
        start, stop, _ = asked.indices(self.shape[0])
        blocks = range(start // CHUNK_SIDE, -(-stop // CHUNK_SIDE))
        parts = [self._block(block)[max(start - block * CHUNK_SIDE, 0) : stop - block * CHUNK_SIDE] for block in blocks]
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), dtype=self.dtype)

    def _block(self, number: int) -> NDArray[Any]:
        """A chunk's side of planes; the last that was asked for are kept."""
        if self._kept is None or self._kept[0] != number:
            self._kept = None
            place = [slice(None)] * 3
            place[self._axis] = slice(number * CHUNK_SIDE, (number + 1) * CHUNK_SIDE)
            self._kept = (number, np.asarray(self._array[tuple(place)]).transpose(order_of(self._axis)))
        return self._kept[1]


def order_of(axis: Axis) -> tuple[int, int, int]:
    """The axes of a volume in the order in which its planes across one of them have them: that one first."""
    others = [other for other in AXES if other != axis]
    return (axis, others[0], others[1])


def seen_along(record: VolumeRecord, axis: Axis) -> VolumeRecord:
    """A volume as one whose slices are its planes across that axis; its voxels stay where they are in space."""
    z, y, x = order_of(axis)
    columns = [2 - x, 2 - y, 2 - z, 3]  # the affine has x, y, z
    shape = (record.shape[z], record.shape[y], record.shape[x])
    affine = tuple(tuple(row[column] for column in columns) for row in record.affine)
    return replace(record, shape=shape, affine=affine)


def write_reformatted(
    folder: Path, record: VolumeRecord, axis: Axis, *, reader: SliceReader, organs: OrganMap
) -> VolumeRecord:
    """Copies a labelled volume of the prepared data set into `folder/ID.zarr`, its planes as slices; gives its record.

    Memory is bounded by a chunk's side of planes of the image, and as many of the labels.
    """
    reformatted = seen_along(record, axis)
    arrays = [Planes(reader.array(record.id, name), axis) for name in ("image", "labels")]
    image, labels = (Volume(ArrayVoxels(array), reformatted.frame) for array in arrays)
    store_volume(folder, volume_id=record.id, image=image, labels=labels, organs=replace(organs, not_labelled=True))
    return reformatted
