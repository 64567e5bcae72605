"""Organs cropped to their boxes, thinned where these are large, so that their surfaces fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Box, Frame, Triple
from scans.shape.surfaces import organ_surface

_BOX_VOXELS = 16_000_000
"""Of an organ's box whose surface is made of all its voxels; of a larger one every n-th along each axis is taken. A
surface takes about 20 bytes for each."""
_HELD_VOXELS = 100_000_000
"""Of organs' boxes, so thinned, that are held at once."""


@dataclass(frozen=True)
class Crop:
    """The voxels of one organ in its box, every `step`-th along each axis."""

    box: Box
    step: int
    mask: NDArray[np.uint8]
    """1 where the organ is, of the shape of the thinned box."""

    @classmethod
    def empty(cls, box: Box) -> Crop:
        """Of nothing yet."""
        step = thinning(box.shape, _BOX_VOXELS)
        return cls(box, step, np.zeros(thinned(box.shape, step), np.uint8))

    def take(self, mask: NDArray[np.bool_], part: Box) -> None:
        """The organ in `part` of the volume: some slices of its box, as wide and high as that."""
        first = part.start[0] - self.box.start[0]
        kept = mask[-first % self.step :: self.step, :: self.step, :: self.step]
        place = -(-first // self.step)
        self.mask[place : place + len(kept)] = kept

    def area_mm2(self, frame: Frame) -> float | None:
        """Of the organ's surface in a volume of that frame; None where every n-th voxel misses it."""
        if not self.mask.any():
            return None
        return organ_surface(self.mask, 1, frame, start=self.box.start, step=self.step).area_mm2


def rounds(boxes: Mapping[int, Box]) -> Iterator[dict[int, Box]]:
    """The organs' boxes in as many parts as fit into memory, one part after another."""
    held: dict[int, Box] = {}
    room = _HELD_VOXELS
    for index, box in boxes.items():
        voxels = math.prod(thinned(box.shape, thinning(box.shape, _BOX_VOXELS)))
        if held and voxels > room:
            yield held
            held, room = {}, _HELD_VOXELS
        held[index] = box
        room -= voxels
    yield held


def thinning(shape: Triple, most: int) -> int:
    """The least step along each axis that leaves at most so many voxels."""
    step = 1
    while math.prod(thinned(shape, step)) > most:
        step += 1
    return step


def thinned(shape: Triple, step: int) -> Triple:
    """The shape of every `step`-th voxel along each axis, the first among them."""
    z, y, x = (-(-side // step) for side in shape)
    return (z, y, x)
