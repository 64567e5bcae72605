"""Tiling: whole slices where they fit, else equal tiles whose halo is dropped when the answers are stitched.

No padding is invented here. A tile never reaches outside its slice; it begins at a multiple of the network's stride and
ends where the slice does, or else at such a multiple too. So whatever the network does at a border of the slice (pad
with zeros, reflect), and wherever its halved grids lie, it does the same at the same pixels as for the whole slice. For
a `forward` of that stride that looks no further than `halo` pixels, the stitched answer equals the whole slice's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Box
from scans.volume import Volume

Forward = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""Raw grey values of slices, (N, Y, X), to the class index of every pixel, uint8 (N, Y, X)."""


STRIDE = 32
"""Pixels between places that are alike for a U-Net that halves its input five times."""
HALO = 256
"""Pixels around a tile that such a network is shown beside it."""


def least_tile(halo: int = HALO, stride: int = STRIDE) -> int:
    """Pixels of the smallest tile that holds more than its halo, wherever it begins; every larger one is valid, too."""
    return 2 * (halo + stride)


def segment(
    volume: Volume,
    forward: Forward,
    *,
    slab_slices: int,
    batch_size: int,
    tile: int | None = None,
    halo: int = 0,
    stride: int = STRIDE,
) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
    """Segments a volume upwards, slab by slab: each box with its class indices, uint8 of the box's shape.

    Memory is that of one slab. The answer depends neither on `slab_slices` nor on `batch_size`; for `tile` and `halo`
    and for what is raised see `segment_slab`.
    """
    for box, slab in volume.slabs(slab_slices):
        yield box, segment_slab(slab, forward, batch_size=batch_size, tile=tile, halo=halo, stride=stride)


def segment_slab(
    slab: NDArray[Any],
    forward: Forward,
    *,
    batch_size: int,
    tile: int | None = None,
    halo: int = 0,
    stride: int = STRIDE,
) -> NDArray[np.uint8]:
    """Segments (N, Y, X) grey values; gives uint8 (N, Y, X), every voxel written exactly once.

    `forward` gets at most `batch_size` slices or tiles at a time, all of one shape: (Y, X), where an axis longer than
    `tile` is cut to at most `tile` pixels, of which at least `halo` on each side inside the slice are context and
    dropped. Tiles begin at multiples of `stride`.

    Raises ValueError if `slab` is not 3-D, if `batch_size` or `stride` < 1, if `halo` < 0, or if a tile would hold
    nothing but its halo (`tile` < 2 `halo` + 2 `stride`).
    """
    _check_request(slab.ndim, batch_size=batch_size, tile=tile, halo=halo, stride=stride)
    depth, height, width = slab.shape
    segmentation = np.empty(slab.shape, dtype=np.uint8)
    for alike in _alike(_spans(height, tile, halo, stride), _spans(width, tile, halo, stride)):
        places = [(z, y, x) for z in range(depth) for y, x in alike]
        for first in range(0, len(places), batch_size):
            batch = places[first : first + batch_size]
            tiles = np.stack([slab[z, y.seen, x.seen] for z, y, x in batch])
            for (z, y, x), answer in zip(batch, _answer(forward, tiles), strict=True):
                segmentation[z, y.kept, x.kept] = answer[y.kept_of_seen, x.kept_of_seen]
    return segmentation


@dataclass(frozen=True)
class _Span:
    """Where a tile lies along one axis."""

    seen: slice
    """Pixels that the network is given."""
    kept: slice
    """Pixels whose answer is used."""

    @property
    def kept_of_seen(self) -> slice:
        """`kept`, counted from the tile's first pixel."""
        return slice(self.kept.start - self.seen.start, self.kept.stop - self.seen.start)


def _spans(length: int, tile: int | None, halo: int, stride: int) -> list[_Span]:
    """Spans of at most `tile` pixels (or one of all) whose kept parts follow one another without gap or overlap."""
    if tile is None or length <= tile:
        return [_Span(slice(0, length), slice(0, length))]
    spans: list[_Span] = []
    kept = 0
    while kept < length:
        start = max(kept - halo, 0) // stride * stride
        stop = min(start + tile // stride * stride, length)
        end = length if stop == length else stop - halo
        spans.append(_Span(slice(start, stop), slice(kept, end)))
        kept = end
    return spans


def _alike(rows: list[_Span], columns: list[_Span]) -> list[list[tuple[_Span, _Span]]]:
    """Tiles by their shape: those of one shape can go through the network together."""
    by_shape: dict[tuple[int, int], list[tuple[_Span, _Span]]] = {}
    for y, x in product(rows, columns):
        by_shape.setdefault((y.seen.stop - y.seen.start, x.seen.stop - x.seen.start), []).append((y, x))
    return list(by_shape.values())


def _answer(forward: Forward, tiles: NDArray[Any]) -> NDArray[np.uint8]:
    answer = forward(tiles)
    if answer.shape != tiles.shape or answer.dtype != np.uint8:
        raise ValueError(
            f"the network answered {answer.dtype} {answer.shape} to slices of shape {tiles.shape}; "
            f"expected uint8 of the same shape"
        )
    return answer


def _check_request(dimensions: int, *, batch_size: int, tile: int | None, halo: int, stride: int) -> None:
    if dimensions != 3:
        raise ValueError(f"a slab has 3 axes (slices, rows, columns); this array has {dimensions}")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if halo < 0:
        raise ValueError(f"halo is {halo} pixels; it must be 0 or more")
    if stride < 1:
        raise ValueError(f"stride is {stride} pixels; it must be at least 1")
    if tile is not None and tile < least_tile(halo, stride):
        raise ValueError(
            f"tile is {tile} pixels, halo {halo} and stride {stride}; a tile must be at least twice as wide as halo "
            f"and stride together: {least_tile(halo, stride)} pixels"
        )
