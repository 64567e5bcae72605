"""Memory: what does not fit the device at once is computed in halves, down to single slices, then in tiles."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scans.tiling import STRIDE, least_tile, segment_slab
from serving.inference.runtime.grey import as_network_input
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.observability import logs

_LEAST_TILE = 128
"""Pixels; a device on which not even such a tile fits cannot be helped."""


class NobodyWaits(Exception):
    """Nobody waits any more for what is computed."""


class Network(Protocol):
    """A model on its device: `serving.inference.runtime.segmentation.Runtime`, or what stands in for it."""

    @property
    def lanes(self) -> int:
        """Batches that are best computed at once."""
        ...

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int) -> NDArray[np.uint8]:
        """(N, Y, X) of a grey type, float32 (N, 2) -> uint8 (N, Y, X). Raises OutOfDeviceMemory."""
        ...

    def segment_rows_with_confidence(
        self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The same, with the winning class's probability, float32 (N, Y, X)."""
        ...


@runtime_checkable
class HasRoom(Protocol):
    """A network that copies batches to its device from memory of its own."""

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, lane: int) -> NDArray[Any] | None:
        """Where a batch for that lane may be put together so that it is copied once; None: there is no such place."""
        ...


class MemoryFallback:
    """Remembers how many slices of a shape fit, per network. Safe to use from several threads."""

    def __init__(self) -> None:
        self._fits: dict[tuple[int, tuple[int, ...], bool], int] = {}

    def segment(
        self,
        network: Network,
        slices: NDArray[Any],
        windows: NDArray[np.float32],
        *,
        lane: int,
        halo: int,
        confidence: bool,
        look: Callable[[], None],
        most_pixels: int | None = None,
    ) -> tuple[NDArray[Any], ...]:
        """Slices (N, Y, X) of any real type and their windows (N, 2) -> segmentation, and confidence where it is asked
        for.

        Those of no grey type are cast to float32, and only what goes through the network at once, as large slices of
        all lanes take gigabytes. `halo` is what tiles are shown around them. `look` is called before each piece that
        goes through the network, and what it raises ends the work. More than `most_pixels` do not go through the
        network at once, so that memory need not run out first: where the system promises more than it has, it ends the
        process instead.
        Raises OutOfDeviceMemory where nothing helps.
        """
        key = (id(network), slices.shape[1:], confidence)
        size = min(len(slices), self._fits.get(key, len(slices)))
        if most_pixels is not None:
            size = min(size, most_pixels // padded_pixels(*slices.shape[1:]))
        while size >= 1:
            try:
                parts = [
                    _whole(
                        *(network, slices[n : n + size], windows[n : n + size]),
                        lane=lane,
                        confidence=confidence,
                        look=look,
                    )
                    for n in range(0, len(slices), size)
                ]
                return (
                    parts[0]
                    if len(parts) == 1
                    else tuple(np.concatenate(output) for output in zip(*parts, strict=True))
                )
            except OutOfDeviceMemory as error:
                size //= 2
                if key not in self._fits:  # another network may get the same id when this one is gone
                    weakref.finalize(network, self._fits.pop, key, None).atexit = False
                self._fits[key] = size
                logs.event("batch_too_large", error=error, next_slices=size)
        if confidence:
            raise OutOfDeviceMemory(slices[:1].shape, "the device, which has no tiles with confidence,")
        side = None if most_pixels is None else math.isqrt(most_pixels) // STRIDE * STRIDE
        pieces = [
            _tiled(network, slices[n : n + 1], windows[n : n + 1], lane=lane, halo=halo, most_side=side, look=look)
            for n in range(len(slices))
        ]
        return (pieces[0] if len(pieces) == 1 else np.concatenate(pieces),)


def _whole(
    network: Network,
    slices: NDArray[Any],
    windows: NDArray[np.float32],
    *,
    lane: int,
    confidence: bool,
    look: Callable[[], None],
) -> tuple[NDArray[Any], ...]:
    look()
    cast = as_network_input(slices)
    if confidence:
        return network.segment_rows_with_confidence(cast, windows, lane=lane)
    return (network.segment_rows(cast, windows, lane=lane),)


def padded_pixels(height: int, width: int) -> int:
    """Pixels of a slice once a network has made its sides multiples of its stride, as even a line of pixels is."""
    return math.prod(-(-side // STRIDE) * STRIDE for side in (height, width))


def tiles(longest: int, *, halo: int, most_side: int | None = None) -> Iterator[int]:
    """Sides of the tiles in which a slice with such a longest side is tried: ever smaller, to the least valid one.

    None where the slice is no larger than that. The first is no larger than `most_side`, if a valid one is not.
    """
    least = max(least_tile(halo), _LEAST_TILE)
    tile = longest // 2 if most_side is None else min(longest - 1, most_side)
    while tile > least:
        yield tile
        tile //= 2
    if least < longest:
        yield least


def _tiled(
    network: Network,
    piece: NDArray[Any],
    windows: NDArray[np.float32],
    *,
    lane: int,
    halo: int,
    most_side: int | None,
    look: Callable[[], None],
) -> NDArray[np.uint8]:
    def forward(tiles: NDArray[Any]) -> NDArray[np.uint8]:
        look()
        return network.segment_rows(as_network_input(tiles), np.repeat(windows, len(tiles), axis=0), lane=lane)

    for tile in tiles(max(piece.shape[1:]), halo=halo, most_side=most_side):
        try:
            return segment_slab(piece, forward, batch_size=1, tile=tile, halo=halo)
        except OutOfDeviceMemory as error:
            logs.event("tile_too_large", error=error, tile=tile)
    raise OutOfDeviceMemory(piece.shape, "the device, even in tiles,")
