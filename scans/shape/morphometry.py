"""Morphometry: size, surface, form and place of each organ of a fish, whichever way it lies in its scan.

The labels are read twice, slab by slab: once for how many voxels each organ has, where they lie and how they spread,
which gives the body's axes, and once for how far organs reach along these and for their surfaces. What is held at once
is bounded, whatever the scan's size: a slab, a sample of the labels, and organs' boxes, thinned where they are large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Frame, Triple
from scans.organs import NOT_LABELLED, Organ, OrganMap
from scans.shape.body_axes import BodyAxes, body_axes
from scans.shape.crops import Crop, rounds, thinning
from scans.shape.extents import BodyCoordinates, Extent
from scans.shape.moments import Moments, added, label_moments, together
from scans.volume import Volume

_SLAB_VOXELS = 8_000_000
"""That are read at once, or one slice of more."""
_SAMPLE_VOXELS = 4_000_000
"""Of the labels that are kept, every n-th along each axis: for pictures, and for which end is the heavier."""
_PLACES = 1_000_000
"""Of labelled voxels of the sample by which the heavier end is found."""
_FISH_NAMES = frozenset({"body", "fish", "whole_fish", "whole_body"})
"""Of a label for all of the fish that is no organ."""
_READ, _MEASURED = 0.4, 0.9
"""Shares of the work after the first and the second reading."""

Triplet = tuple[float, float, float]
Report = Callable[[float], None]
"""Is told which share of the work is done, 0..1."""


class NothingLabelled(ValueError):
    """Labels in which no voxel is of any organ."""


@dataclass(frozen=True)
class OrganShape:
    """Size, form and place of one organ."""

    index: int
    """Class index."""
    name: str
    voxels: int = 0
    """0: it was not found, and there is nothing else to say of it."""
    volume_mm3: float = 0.0
    share: float = 0.0
    """Of the volume of all that is labelled: `FishShape.share_of` says what that is."""
    surface_mm2: float | None = None
    """Area of its surface, the cut among it where it is cut off. None where it was not found, or is so large and thin
    that every `surface_step`-th voxel misses it."""
    surface_step: int = 1
    """Every how many-th voxel along each axis the surface is made of; 1: of all."""
    place_mm: Triplet | None = None
    """Its middle from the body's, towards head, left and back."""
    extent_mm: Triplet | None = None
    """Its length along the body's axis from tail to head, its width along that from right to left, and its height."""
    asymmetry: float | None = None
    """(L - R) / (L + R): of the volumes of a left organ and its right one, in both their rows; of any other, of its
    parts on both sides of the plane through the body's middle, across its axis from right to left. None where the organ
    or its other side was not found, or is cut off."""
    paired: bool = False
    """It is a left or a right organ of this map."""
    touches_border: bool = False
    """It reaches an outer face of the volume: its size is a lower bound."""

    @property
    def found(self) -> bool:
        """Whether it has a voxel."""
        return self.voxels > 0

    @property
    def sphericity(self) -> float | None:
        """pi^(1/3) (6 V)^(2/3) / A (Wadell 1935): 1 for a ball, less for anything else."""
        if not self.surface_mm2:
            return None
        return float(math.pi ** (1 / 3) * (6 * self.volume_mm3) ** (2 / 3) / self.surface_mm2)


@dataclass(frozen=True)
class FishShape:
    """The organs of a fish, and the axes along which they are measured."""

    axes: BodyAxes
    organs: tuple[OrganShape, ...]
    """Of the whole map, found or not."""
    share_of: str
    """`fish` where one label is the rest of its body, so that all labels together are the fish; else
    `labelled organs`."""
    sample: Volume
    """Every n-th voxel of the labels along each axis, in memory, where they lie in the world."""

    @property
    def touches_border(self) -> bool:
        """Some organ does: the fish is cut off, and shares are of a part of it."""
        return any(organ.touches_border for organ in self.organs)


def is_body(name: str) -> bool:
    """Whether a label of that name is the rest of a fish's body, and no organ."""
    return name.lower().replace(" ", "_").replace("-", "_") in _FISH_NAMES


def measure(labels: Volume, organs: OrganMap, *, report: Report = lambda share: None) -> FishShape:
    """Measures a fish by its labels, uint8 class indices of `organs`.

    Memory: below 1 GB, whatever the volume's size, where a slice has 10 million voxels or fewer. Raises NothingLabelled
    where no voxel is labelled, ValueError for an index that is no organ's and for labels of a part of the fish alone
    (NOT_LABELLED), SurfaceLibraryMissing, and what reading raises.
    """
    moments, sample = _first_reading(labels, organs, report)
    axes = body_axes(organs, moments, labels.frame, _places_mm(sample))
    coordinates = BodyCoordinates(axes, labels.frame)
    reach, areas = _second_reading(labels, moments, coordinates, report)
    shapes = [
        _shape(organ, moments, labels, coordinates=coordinates, reach=reach[organ.index], surface=areas[organ.index])
        if organ.index in moments
        else OrganShape(organ.index, organ.name)
        for organ in organs.organs
    ]
    named = any(is_body(shape.name) and shape.found for shape in shapes)
    return FishShape(axes, _with_pairs(shapes, organs), "fish" if named else "labelled organs", sample)


def _first_reading(labels: Volume, organs: OrganMap, report: Report) -> tuple[dict[int, Moments], Volume]:
    """Moments of each organ that is there, and a sample of the labels."""
    moments: dict[int, Moments] = {}
    taken = []
    step = thinning(labels.shape, _SAMPLE_VOXELS)
    for box, slab in labels.slabs(_depth(labels.shape)):
        _require_organs(slab, organs)
        moments = added(moments, label_moments(slab, box))
        taken.append(slab[-box.start[0] % step :: step, ::step, ::step].copy())
        report(_READ * box.stop[0] / labels.shape[0])
    if not moments:
        raise NothingLabelled("no voxel is of any organ: there is nothing to measure")
    affine = labels.frame.matrix
    affine[:3, :3] *= step
    return moments, Volume.from_array(np.concatenate(taken), Frame.from_affine(affine))


def _require_organs(slab: NDArray[np.uint8], organs: OrganMap) -> None:
    greatest = int(slab.max(initial=0))
    if greatest == NOT_LABELLED:
        raise ValueError(f"holds {NOT_LABELLED}, not labelled: organs that are labelled in part have no size")
    if greatest >= organs.classes:
        raise ValueError(f"holds the value {greatest}, which is no organ's; organs are 1 to {len(organs)}")


def _second_reading(
    labels: Volume, moments: Mapping[int, Moments], coordinates: BodyCoordinates, report: Report
) -> tuple[dict[int, Extent], dict[int, tuple[float | None, int]]]:
    """How far each organ reaches, and the area of its surface with the step that it was made with."""
    reach = dict.fromkeys(moments, Extent())
    areas = {}
    parts = list(rounds({index: moment.box for index, moment in moments.items()}))
    for number, boxes in enumerate(parts):
        crops = {index: Crop.empty(box) for index, box in boxes.items()}
        for box, slab in labels.slabs(_depth(labels.shape)):
            first = box.start[0]
            for index, crop in crops.items():
                part = crop.box & box
                if part.voxels:
                    mask = slab[part.shifted((-first, 0, 0)).slices] == index
                    reach[index] += coordinates.of(mask, part.start)
                    crop.take(mask, part)
            report(_READ + (_MEASURED - _READ) * (number + box.stop[0] / labels.shape[0]) / len(parts))
        for index in list(crops):
            crop = crops.pop(index)
            areas[index] = (crop.area_mm2(labels.frame), crop.step)
    report(1.0)
    return reach, areas


def _shape(
    organ: Organ,
    moments: Mapping[int, Moments],
    labels: Volume,
    *,
    coordinates: BodyCoordinates,
    reach: Extent,
    surface: tuple[float | None, int],
) -> OrganShape:
    """Of an organ that was found, its asymmetry that of its own two parts."""
    found = moments[organ.index]
    head, left, back = (
        most - least + 2 * half
        for least, most, half in zip(reach.least_mm, reach.most_mm, coordinates.half_voxel_mm, strict=True)
    )
    cut = found.box.touches_border(labels.shape)
    return OrganShape(
        index=organ.index,
        name=organ.name,
        voxels=found.voxels,
        volume_mm3=found.voxels * labels.frame.voxel_mm3,
        share=found.voxels / together(moments).voxels,
        surface_mm2=surface[0],
        surface_step=surface[1],
        place_mm=coordinates.axes.place_mm(found.centre_mm(labels.frame)),
        extent_mm=(float(head), float(left), float(back)),
        asymmetry=None if cut else reach.leftness / found.voxels,
        touches_border=cut,
    )


def _with_pairs(shapes: list[OrganShape], organs: OrganMap) -> tuple[OrganShape, ...]:
    """With the asymmetry of left and right organs that of both together."""
    by_index = {shape.index: shape for shape in shapes}
    return tuple(
        _with_pair(shape, by_index[int(organs.mirrored[shape.index])])
        if organs.mirrored[shape.index] != shape.index
        else shape
        for shape in shapes
    )


def _with_pair(shape: OrganShape, other: OrganShape) -> OrganShape:
    left, right = (shape, other) if "left" in shape.name.split("_") else (other, shape)
    whole = left.found and right.found and not (left.touches_border or right.touches_border)
    asymmetry = (left.voxels - right.voxels) / (left.voxels + right.voxels) if whole else None
    return replace(shape, asymmetry=asymmetry, paired=True)


def _places_mm(sample: Volume) -> NDArray[np.float64]:
    """Of labelled voxels of the sample, evenly taken: (N, 3) of x, y, z."""
    indices = np.flatnonzero(sample.read())
    taken = indices[:: -(-len(indices) // _PLACES) or 1]
    z, y, x = np.unravel_index(taken, sample.shape)
    affine = sample.frame.matrix
    places: NDArray[np.float64] = np.column_stack([x, y, z]) @ affine[:3, :3].T + affine[:3, 3]
    return places


def _depth(shape: Triple) -> int:
    return max(1, _SLAB_VOXELS // (shape[1] * shape[2]))
