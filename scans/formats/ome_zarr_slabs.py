"""Slabs into a pyramid, upwards, where shards of coarser levels hold the parts of many: they are written when the last
of these has come, and kept in memory until then, no more of them than a slab has bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats.ome_zarr_pyramid import Pyramid, slabs_of_shard

Earlier = Callable[[int], NDArray[Any]]
"""A slab that was written before, by its number."""


class PyramidWriter:
    """Writes the slabs of one pyramid in their order, from any of them on."""

    def __init__(self, pyramid: Pyramid, *, earlier: Earlier | None = None) -> None:
        """Where the first slab that is written is not slab 0, `earlier` gives those before it whose parts it needs."""
        self._pyramid = pyramid
        self._earlier = earlier
        self._next: int | None = None
        self._parts: dict[int, list[NDArray[Any]]] = defaultdict(list)

    def write(self, number: int, slab: NDArray[Any]) -> list[str]:
        """Writes slab `number`, and the shards that it is the last of; gives their files, relative to the pyramid.

        The same slabs give the same bytes, wherever it was begun. Raises ValueError as `Pyramid.write`, and for a slab
        that is not the next one, and what `earlier` raises.
        """
        if not self._pyramid.deep_levels:
            return self._pyramid.write(number, slab)
        if self._next is None:
            self._catch_up(number)
        if number != self._next:
            raise ValueError(f"slab {number} where slab {self._next} is the next")
        for level, first, block in self._finished(number, slab):
            self._pyramid.levels[level][first : first + len(block)] = block
        self._next = number + 1
        return self._pyramid.files(number)

    def _catch_up(self, number: int) -> None:
        """Gathers of the slabs before this one what is in shards that are not written yet."""
        coarsest = slabs_of_shard(len(self._pyramid.levels) - 1, self._pyramid.slab_slices)
        for before in range(number // coarsest * coarsest, number):
            if self._earlier is None:
                raise ValueError(f"slab {number} without those before it")
            for _ in self._finished(before, self._earlier(before)):
                pass  # which was written then
        self._next = number

    def _finished(self, number: int, slab: NDArray[Any]) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """Levels of which the slab ends a shard, with the first slice of it and all of its voxels."""
        for level, part in enumerate(self._pyramid.parts(number, slab)):
            self._parts[level].append(part if level == 0 else np.ascontiguousarray(part))
        slices, last = self._pyramid.slab_slices, self._pyramid.shape[0]
        for level in range(len(self._pyramid.levels)):
            slabs = slabs_of_shard(level, slices)
            if (number + 1) % slabs == 0 or (number + 1) * slices >= last:
                first = number // slabs * slabs * slices >> level
                parts = self._parts.pop(level)
                yield level, first, parts[0] if len(parts) == 1 else np.concatenate(parts)
