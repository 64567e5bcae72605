"""OrganStatistics: size, place and extent of each organ, added up slab by slab; OrganRow: one line of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Box, Frame, Triple
from scans.organs import NOT_LABELLED, OrganMap

_NOWHERE = Box((0, 0, 0), (0, 0, 0))

Point = tuple[float, float, float]


@dataclass(frozen=True)
class OrganRow:
    """What a segmentation says of one organ."""

    index: int
    """Class index."""
    name: str
    voxels: int
    volume_mm3: float
    centroid_voxels: Point | None
    """Mean voxel index (z, y, x), counted from the centre of voxel (0, 0, 0); None where the organ was not found."""
    centroid_mm: Point | None
    """The same place in the world of the volume's frame: (x, y, z) in mm, RAS+; None where the organ was not found."""
    box: Box | None
    """The smallest box that holds it; None where the organ was not found."""
    touches_border: bool
    """True where the organ reaches an outer face of the volume, so that part of it may be cut off."""

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON can hold; the box is {"start": [z, y, x], "stop": [z, y, x]}, `stop` outside."""
        return {
            "index": self.index,
            "name": self.name,
            "voxels": self.voxels,
            "volume_mm3": self.volume_mm3,
            "centroid_voxels": None if self.centroid_voxels is None else list(self.centroid_voxels),
            "centroid_mm": None if self.centroid_mm is None else list(self.centroid_mm),
            "box": None if self.box is None else {"start": list(self.box.start), "stop": list(self.box.stop)},
            "touches_border": self.touches_border,
        }


@dataclass(frozen=True)
class _OrganSum:
    """What has to be known of an organ in two slabs to know it of both together: exact integers."""

    voxels: int = 0
    index_sum: Triple = (0, 0, 0)
    """Sum of its voxels' indices along z, y, x."""
    box: Box = _NOWHERE

    def __add__(self, other: _OrganSum) -> _OrganSum:
        z, y, x = (a + b for a, b in zip(self.index_sum, other.index_sum, strict=True))
        return _OrganSum(self.voxels + other.voxels, (z, y, x), self.box | other.box)


@dataclass(frozen=True)
class OrganStatistics:
    """Statistics of every organ in a part of a volume; those of parts that do not overlap add up to those of the whole.

    Only integers are kept, so that the sum is exactly the same in whatever order and slabs it was added up.
    """

    organs: tuple[_OrganSum, ...]
    """In the order of class indices, background left out."""

    @classmethod
    def of(cls, segmentation: NDArray[np.uint8], *, box: Box, classes: int) -> OrganStatistics:
        """Of a slab's class indices, uint8 (z, Y, X), that fill `box` of the volume.

        In labels, voxels that are NOT_LABELLED belong to no organ. Raises ValueError if the slab does not have the
        box's shape, or holds a class index of `classes` or more.
        """
        if segmentation.shape != box.shape:
            raise ValueError(f"a segmentation of shape {segmentation.shape} cannot fill a box of shape {box.shape}")
        greatest = segmentation.max(initial=0)
        if greatest == NOT_LABELLED:
            greatest = segmentation.max(where=segmentation != NOT_LABELLED, initial=0)
        if greatest >= classes:
            raise ValueError(f"the segmentation holds class index {greatest}; the greatest is {classes - 1}")
        from scipy import ndimage  # noqa: PLC0415  half a second that a client does not need

        sums = [_OrganSum()] * (classes - 1)
        for position, place in enumerate(ndimage.find_objects(segmentation, max_label=classes - 1)):
            if place is not None:
                first = _triple([along.start + start for along, start in zip(place, box.start, strict=True)])
                sums[position] = _organ_sum(segmentation[place] == position + 1, first)
        return cls(tuple(sums))

    @classmethod
    def empty(cls, classes: int) -> OrganStatistics:
        """Of no voxels at all: what adding up begins with."""
        return cls((_OrganSum(),) * (classes - 1))

    def __add__(self, other: OrganStatistics) -> OrganStatistics:
        return OrganStatistics(tuple(a + b for a, b in zip(self.organs, other.organs, strict=True)))

    def table(self, organs: OrganMap, frame: Frame, shape: Triple) -> list[OrganRow]:
        """A row for every organ of the map, found or not; `shape` is that of the whole volume.

        Raises ValueError if the statistics are of another number of organs.
        """
        if len(self.organs) != len(organs):
            raise ValueError(f"statistics of {len(self.organs)} organs; the map has {len(organs)}")
        return [
            OrganRow(
                index=organ.index,
                name=organ.name,
                voxels=found.voxels,
                volume_mm3=found.voxels * frame.voxel_mm3,
                centroid_voxels=(centroid := _centroid(found)),
                centroid_mm=None if centroid is None else frame.world_mm(centroid),
                box=found.box if found.voxels else None,
                touches_border=found.voxels > 0 and found.box.touches_border(shape),
            )
            for organ, found in zip(organs.organs, self.organs, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads back, in types that JSON can hold."""
        return {
            "organs": [
                {
                    "voxels": organ.voxels,
                    "index_sum": list(organ.index_sum),
                    "start": list(organ.box.start),
                    "stop": list(organ.box.stop),
                }
                for organ in self.organs
            ]
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> OrganStatistics:
        """From what `to_dict` gave, through JSON or not."""
        return cls(
            tuple(
                _OrganSum(
                    voxels=organ["voxels"],
                    index_sum=_triple(organ["index_sum"]),
                    box=Box(_triple(organ["start"]), _triple(organ["stop"])),
                )
                for organ in content["organs"]
            )
        )


def _organ_sum(mask: NDArray[np.bool_], start: Triple) -> _OrganSum:
    """Of one organ from its mask, cropped to it; `start` is the index in the volume of the crop's first voxel."""
    depth, height, width = mask.shape
    plane = np.add.reduce(mask, axis=0, dtype=np.min_scalar_type(depth))  # a byte or two a pixel
    along_y, along_x = (plane.sum(axis=axis, dtype=np.int64) for axis in (1, 0))
    profiles = (np.count_nonzero(mask.reshape(depth, -1), axis=1), along_y, along_x)
    voxels = int(along_y.sum())
    z, y, x = (
        int(profile @ np.arange(len(profile))) + voxels * first for profile, first in zip(profiles, start, strict=True)
    )
    return _OrganSum(voxels, (z, y, x), Box.of_shape((depth, height, width)).shifted(start))


def _centroid(organ: _OrganSum) -> Point | None:
    if not organ.voxels:
        return None
    z, y, x = organ.index_sum
    return (z / organ.voxels, y / organ.voxels, x / organ.voxels)


def _triple(values: list[int]) -> Triple:
    z, y, x = values
    return (z, y, x)
