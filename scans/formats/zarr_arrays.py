"""Arrays of Zarr, read slab by slab, and those without OME metadata: the only one of three axes, or the one named."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from scans.formats.axes import leading_axes
from scans.formats.banded import BandedSource
from scans.formats.errors import ONE_VOLUME, FormatError, NoSpacing, how_to_name
from scans.formats.sources import Opened, native_dtype
from scans.formats.zarr_chunks import slices_without_chunks, with_missing
from scans.formats.zarr_codecs import bounded
from scans.geometry import Frame, Triple

OME_ZARR = "an OME-Zarr image, version 0.4 or 0.5"
MOST_GROUPS = 1000
"""Groups and files in a group that is no image itself, and is searched for one."""

_PLAIN = f"{OME_ZARR}, or a Zarr with one array of axes z, y, x"
_USUALLY_AT_ONCE = 10
_AT_ONCE_BYTES = 512 << 20
"""Of chunks that are unpacked at the same time."""
_MOST_LISTED = 8


def open_array(path: Path, array: zarr.Array[Any], axes: Sequence[int], frame: Callable[[], Frame]) -> Opened:
    """The volume of an array whose `axes` are z, y and x, all others being of size 1."""
    native_dtype(path, np.dtype(array.dtype))
    array = bounded(path, array)
    source = BandedSource.of(path, _ZarrSource(array, tuple(axes)), depth=array.chunks[axes[0]])
    return with_missing(Opened.placed(source, frame), slices_without_chunks(array, axes[0]))


def open_plain(path: Path, node: zarr.Group | zarr.Array[Any], below: Collection[str]) -> Opened:
    """An array without OME metadata, or the only one of three axes in a group; it states no spacing.

    Raises FormatError that lists the arrays where there is not just one.
    """
    if isinstance(node, zarr.Array):
        return _open_bare(path, node)
    if len(below) > MOST_GROUPS:
        raise FormatError(path, f"{len(below)} groups or files in a Zarr without OME metadata", OME_ZARR)
    found = dict(node.arrays())
    found |= {f"{outer}/{name}": array for outer, group in node.groups() for name, array in group.arrays()}
    volumes = {name: array for name, array in sorted(found.items()) if leading_axes(array.shape) is not None}
    if len(volumes) == 1:
        return _open_bare(path, next(iter(volumes.values())))
    listed = ", ".join(f"{name} {_described(array)}" for name, array in [*(volumes or found).items()][:_MOST_LISTED])
    accepted = f"{_PLAIN}; or name one: {how_to_name(next(iter(volumes)))}" if volumes else _PLAIN
    raise FormatError(
        path, f"Zarr without OME metadata, {len(volumes)} arrays of three axes: {listed or 'it is empty'}", accepted
    )


def named_node(path: Path, group: zarr.Group, name: str) -> zarr.Group | zarr.Array[Any]:
    """The group or array of a name in a group. Raises FormatError where there is none."""
    steps = name.strip("/").split("/")
    if any(step in ("", ".", "..") for step in steps) or "/".join(steps) not in group:
        there = ", ".join(sorted(name for name, _ in group.members())[:_MOST_LISTED])
        raise FormatError(
            path, f"no array {name.removeprefix('/')[:80]!r}", f"the name of one in the Zarr: {there or 'it is empty'}"
        )
    return group["/".join(steps)]


def _open_bare(path: Path, array: zarr.Array[Any]) -> Opened:
    leading = leading_axes(array.shape)
    if leading is None:
        raise FormatError(path, f"a Zarr array of {len(array.shape)} axes: {_described(array)}", ONE_VOLUME)
    axes = range(leading, leading + 3)
    names = [name.lower() for name in _axis_names(array)]
    order = [names[axis] for axis in axes] if len(names) == array.ndim else []
    if set(order) == {"x", "y", "z"} and order != ["z", "y", "x"]:
        raise FormatError(path, f"axes in the order {', '.join(order)}", "axes in the order z, y, x")

    def unplaced() -> Frame:
        raise NoSpacing("a Zarr array without OME metadata states no voxel size")

    return open_array(path, array, axes, unplaced)


def _axis_names(array: zarr.Array[Any]) -> list[str]:
    """As Zarr 3 and, in Zarr 2, xarray state them; none where nobody does."""
    stated = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return [str(name) for name in stated] if isinstance(stated, list | tuple) else []


def _described(array: zarr.Array[Any]) -> str:
    return f"{' x '.join(str(n) for n in array.shape)} {array.dtype}"


@dataclass(frozen=True)
class _ZarrSource:
    array: zarr.Array[Any]
    axes: tuple[int, ...]

    @property
    def shape(self) -> Triple:
        z, y, x = (int(self.array.shape[axis]) for axis in self.axes)
        return (z, y, x)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.array.dtype)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        index = tuple(slice(start, stop) if axis == self.axes[0] else slice(None) for axis in range(self.array.ndim))
        chunk = math.prod(self.array.chunks) * self.array.dtype.itemsize
        if chunk * _USUALLY_AT_ONCE <= _AT_ONCE_BYTES:
            return np.asarray(self.array[index]).reshape(stop - start, *self.shape[1:])
        with zarr.config.set({"async.concurrency": max(1, _AT_ONCE_BYTES // chunk)}):
            return np.asarray(self.array[index]).reshape(stop - start, *self.shape[1:])
