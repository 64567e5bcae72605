"""The axes of a body: from tail to head, from right to left, from belly to back, as its own labels have them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Frame
from scans.organs import OrganMap
from scans.shape.moments import Moments, together

_EYES_AND_EARS = frozenset(("eye", "eyes", "lens", "retina", "ear", "otolith", "otoliths", "olfactory"))
_HEAD = _EYES_AND_EARS | {"brain", "head", "skull", "jaw", "mouth", "gill", "gills"}
_BACK = frozenset(("spine", "spinal", "vertebra", "vertebrae", "backbone", "notochord", "dorsal", "kidney", "kidneys"))
_BELLY = frozenset(("heart", "liver", "gut", "intestine", "stomach", "belly", "ventral", "yolk"))
"""Words in the names of organs by which a fish's ends and sides are known."""
_ALIKE = 0.95
"""Where one axis is this share of the next longer one, or more, nobody can say which is which."""
_LEAST_OFFSET = 0.05
"""Of an axis' spread, by which organs must lie off the middle to say which end is theirs."""
_LEAST_SKEWNESS = 0.05
"""Below it neither end is the heavier one."""

_Vector = NDArray[np.float64]


class Told(StrEnum):
    """How it is known which way an axis runs."""

    ORGANS = "organs"
    """Named organs lie there."""
    PAIRS = "pairs"
    """The left of paired organs lie there."""
    OTHER_AXES = "other axes"
    """It follows from the two others: back, head and left are as in every fish that is no mirror image."""
    WEIGHT = "heavier end"
    """Its labelled voxels are crowded towards one end: taken for the head, or for the belly."""
    SCAN = "scan"
    """By nothing in the fish: it runs along the scan's own axes."""


@dataclass(frozen=True)
class BodyAxes:
    """A body's own coordinates: a middle, and three directions at right angles, each in mm."""

    centre_mm: tuple[float, float, float]
    """Middle of all labelled voxels: x, y, z, RAS+."""
    directions: tuple[tuple[float, float, float], ...]
    """Unit vectors towards head, left and back: x, y, z, RAS+."""
    spread_mm: tuple[float, float, float]
    """Standard deviation of all labelled voxels along each."""
    told: tuple[Told, Told, Told]
    """How each is known."""
    mirrored: bool = False
    """Left organs lie where the right side of such a body is: the scan is a mirror image, or their names are."""

    @property
    def determined(self) -> bool:
        """Whether places along them mean something: the length is longer than the rest, and each way is known by
        something in the fish."""
        longest, *others = self.spread_mm
        return max(others) < _ALIKE * longest and Told.SCAN not in self.told

    @property
    def matrix(self) -> _Vector:
        """The directions as the rows of a (3, 3) array."""
        return np.array(self.directions)

    def place_mm(self, world_mm: Sequence[float] | _Vector) -> tuple[float, float, float]:
        """Where a place of the world, x, y, z in mm, lies from the middle: towards head, left and back, in mm."""
        head, left, back = self.matrix @ (np.asarray(world_mm) - self.centre_mm)
        return (float(head), float(left), float(back))


def body_axes(
    organs: OrganMap, moments: Mapping[int, Moments], frame: Frame, sample_mm: NDArray[np.floating]
) -> BodyAxes:
    """The axes of what is labelled; `sample_mm` are places of labelled voxels, (N, 3) of x, y, z, evenly taken.

    They are the principal axes of all labelled voxels, the longest from tail to head. Which end is the head, named
    organs say (eyes, brain, jaw ...), otherwise the heavier one is taken for it: that from which the labelled voxels
    thin out more slowly is the tail. Of the two others, that along which left organs lie from right ones is from right
    to left; without pairs, the shorter, as a fish is higher than wide. The back is where spine, notochord and kidney
    are, and heart, liver and gut are not; otherwise it follows from head and left; without pairs, the lighter side is
    the back, and left follows. Where the two shorter ones are alike, left is where the pairs say, or the back where
    organs of the back and the belly do. An axis of which nothing is known runs as the scan's do. Raises ValueError
    where nothing is labelled.
    """
    whole = together(moments)
    centre = whole.centre_mm(frame)
    covariance = whole.covariance_mm2(frame)
    there = {organ.name: moments[organ.index] for organ in organs.organs if organ.index in moments}
    centres = {name: found.centre_mm(frame) - centre for name, found in there.items()}
    weights = {name: found.voxels for name, found in there.items()}
    length, middle, short = np.linalg.eigh(covariance)[1].T[::-1]
    places = np.asarray(sample_mm, dtype=np.float64) - centre
    spread = float(np.sqrt(length @ covariance @ length))
    head, head_told = _towards(length, spread, _middle(centres, weights, _HEAD), None, places)
    sides = _Sides(middle, short, covariance, _left_of_right(organs, centres))
    left, back, told, mirrored = sides.told(head, centres, weights, places)
    directions = np.array([head, left, back])
    x, y, z = (float(value) for value in centre)
    deviations = np.sqrt(np.einsum("ij,jk,ik->i", directions, covariance, directions))
    along, across, up = (float(value) for value in deviations)
    rows = tuple((float(a), float(b), float(c)) for a, b, c in directions)
    return BodyAxes((x, y, z), rows, (along, across, up), (head_told, *told), mirrored)


@dataclass(frozen=True)
class _Sides:
    """The two shorter principal axes, of which one is from right to left."""

    middle: _Vector
    short: _Vector
    covariance: _Vector
    pairs: _Vector | None
    """From right organs to left ones; None where no pair is labelled."""

    def told(
        self, head: _Vector, centres: Mapping[str, _Vector], weights: Mapping[str, int], places: NDArray[np.float64]
    ) -> tuple[_Vector, _Vector, tuple[Told, Told], bool]:
        """Left and back, how they are known, and whether a mirror image has them so."""
        backs, bellies = _middle(centres, weights, _BACK), _middle(centres, weights, _BELLY)
        if self.pairs is None and self._alike:
            return *self._of_round(head, backs, bellies), False
        left, up = self._by_pairs(head) if self.pairs is not None else (self.short, self.middle)
        spread = float(np.sqrt(up @ self.covariance @ up))
        back, told = _towards(up, spread, backs, bellies, -places)  # the heavier side is the belly
        if self.pairs is None:
            return np.cross(back, head), back, (Told.OTHER_AXES, told), False
        if told is not Told.ORGANS:
            return left, np.cross(head, left), (Told.PAIRS, Told.OTHER_AXES), False
        return left, back, (Told.PAIRS, told), bool(np.cross(head, left) @ back < 0)

    @property
    def _alike(self) -> bool:
        """Whether the body is as high as wide: which direction is the longer one then says nothing."""
        long, least = (float(np.sqrt(axis @ self.covariance @ axis)) for axis in (self.middle, self.short))
        return least >= _ALIKE * long

    def _of_round(
        self, head: _Vector, backs: _Vector | None, bellies: _Vector | None
    ) -> tuple[_Vector, _Vector, tuple[Told, Told]]:
        """Left and back of a body that is as high as wide and has no pairs: the back is where its organs are."""
        up = (np.zeros(3) if backs is None else backs) - (np.zeros(3) if bellies is None else bellies)
        up -= (up @ head) * head
        known = np.linalg.norm(up) > _LEAST_OFFSET * np.sqrt(self.short @ self.covariance @ self.short)
        if not known:  # the scan's axis that is most across
            up = np.eye(3)[np.argmin(np.round(np.abs(head), 6))]
            up = up - (up @ head) * head
        back: _Vector = up / np.linalg.norm(up)
        return np.cross(back, head), back, (Told.OTHER_AXES, Told.ORGANS if known else Told.SCAN)

    def _by_pairs(self, head: _Vector) -> tuple[_Vector, _Vector]:
        """The axis along which pairs lie, from right to left, and the other one."""
        pairs = np.zeros(3) if self.pairs is None else self.pairs
        if self._alike:
            across = pairs - (pairs @ head) * head
            if np.linalg.norm(across) > 0:
                left: _Vector = across / np.linalg.norm(across)
                return left, np.cross(head, left)
        left, up = self.short, self.middle
        if abs(pairs @ self.middle) > abs(pairs @ self.short):
            left, up = up, left
        return (left if left @ pairs >= 0 else -left), up


def _towards(
    axis: _Vector, spread: float, there: _Vector | None, opposite: _Vector | None, places: NDArray[np.float64]
) -> tuple[_Vector, Told]:
    """The axis, turned towards where organs lie and away from others; else towards the heavier end of `places`."""
    offset = (0.0 if there is None else float(there @ axis)) - (0.0 if opposite is None else float(opposite @ axis))
    if abs(offset) > _LEAST_OFFSET * spread:
        return (axis if offset > 0 else -axis), Told.ORGANS
    along = places @ axis
    along = along - along.mean() if len(along) else np.zeros(1)
    deviation = float(np.sqrt(np.mean(along**2)))
    skewness = float(np.mean(along**3)) / deviation**3 if deviation > 0 else 0.0
    if abs(skewness) > _LEAST_SKEWNESS:  # a long thin end makes it positive there: the other end is the heavier one
        return (axis if skewness < 0 else -axis), Told.WEIGHT
    largest = axis[np.argmax(np.round(np.abs(axis), 6))]
    return (axis if largest > 0 else -axis), Told.SCAN


def _middle(centres: Mapping[str, _Vector], weights: Mapping[str, int], words: frozenset[str]) -> _Vector | None:
    """Of all organs whose names hold one of the words; None where there are none."""
    named = [name for name in centres if not words.isdisjoint(_words(name))]
    if not named:
        return None
    middle: _Vector = np.average([centres[name] for name in named], axis=0, weights=[weights[name] for name in named])
    return middle


def _left_of_right(organs: OrganMap, centres: Mapping[str, _Vector]) -> _Vector | None:
    """Sum of the ways from right organs to their left ones; None where no pair is labelled."""
    names = ("", *organs.names)
    ways = [
        centres[organ.name] - centres[other]
        for organ in organs.organs
        if (other := names[organs.mirrored[organ.index]]) != organ.name
        and "left" in _words(organ.name)
        and {organ.name, other} <= centres.keys()
    ]
    total: _Vector = np.sum(ways, axis=0) if ways else np.zeros(3)
    return total if np.linalg.norm(total) > 0 else None


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))
