"""The space that a synthetic fish is painted in: the scanned field, the fish's own curved coordinates, and brushes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from scans.geometry import Spacing, Triple

Field = NDArray[np.float32]
"""float32, broadcastable to (Z, Y, X)."""
Mask = NDArray[np.bool_]

FIELD_OF_VIEW_MM = (30.0, 9.2, 9.2)
"""What is scanned, along z, y, x, at any number of voxels."""
_ALONG = (0.0, 1.0, 3.0, 5.0, 8.0, 11.0, 14.0, 17.0, 20.0, 21.2)
_HALF_HEIGHT = (0.55, 1.15, 2.05, 2.6, 3.05, 3.05, 2.4, 1.6, 1.1, 0.9)
_HALF_WIDTH = (0.7, 1.25, 1.9, 2.15, 2.3, 2.1, 1.5, 0.9, 0.5, 0.3)


class Material(IntEnum):
    """What a voxel is made of; a beam time gives each a grey value."""

    AIR = 0
    TUBE = 1
    MEDIUM = 2
    SKIN = 3
    MUSCLE = 4
    SEPTUM = 5
    """Connective sheets between the segments of muscle."""
    FAT = 6
    BONE = 7
    OTOLITH = 8
    GAS = 9
    LENS = 10
    RETINA = 11
    VITREOUS = 12
    BRAIN = 13
    HEART = 14
    BLOOD = 15
    LIVER = 16
    GUT_WALL = 17
    GUT_CONTENT = 18
    KIDNEY = 19
    GONAD = 20
    EGG = 21
    GILL = 22
    FIN = 23
    CORD = 24
    """Spinal cord and the soft core of a vertebra."""


class Label(IntEnum):
    """Class index in the labels; the same as data/phantom/organs.yaml."""

    LEFT_EYE = 1
    RIGHT_EYE = 2
    BRAIN = 3
    HEART = 4
    LIVER = 5
    GUT = 6
    SWIM_BLADDER = 7
    KIDNEY = 8
    GONAD = 9
    SPINE = 10


def spacing_of(shape: Triple) -> Spacing:
    """The spacing at which that many voxels fill the field of view."""
    z, y, x = (length / n for length, n in zip(FIELD_OF_VIEW_MM, shape, strict=True))
    return Spacing(z=z, y=y, x=x)


class Canvas:
    """A scanned field with a random fish's coordinates in it, on which materials and labels are painted.

    `z`, `y`, `x` are places in the field in mm, y and x from the tube's axis; `s`, `u`, `v` those in the fish: from
    its snout to its tail, to its left, to its back. They are bent, turned, shifted and smoothly deformed.
    """

    def __init__(self, shape: Triple, rng: np.random.Generator) -> None:
        """A field of that shape; `rng` decides the pose and is then the painter's."""
        self.rng = rng
        self.materials = np.full(shape, Material.AIR, dtype=np.uint8)
        self.labels = np.zeros(shape, dtype=np.uint8)
        axes = [
            ((np.arange(n) + 0.5) * (length / n)).astype(np.float32)
            for n, length in zip(shape, FIELD_OF_VIEW_MM, strict=True)
        ]
        self.z, self.y, self.x = (
            axes[0][:, None, None],
            axes[1][None, :, None] - np.float32(FIELD_OF_VIEW_MM[1] / 2),
            axes[2][None, None, :] - np.float32(FIELD_OF_VIEW_MM[2] / 2),
        )
        self.texture = spline_field(rng, axes, step_mm=0.9)
        self._pose(axes)
        self.height = _profile(self.s, _HALF_HEIGHT) * np.float32(rng.uniform(0.92, 1.08))
        self.width = _profile(self.s, _HALF_WIDTH) * np.float32(rng.uniform(0.9, 1.1))
        inside = (self.u / self.width) ** 2 + (self.v / self.height) ** 2
        self.depth: Field = (1 - np.sqrt(inside)) * np.minimum(self.width, self.height)  # mm below the skin, about
        self.body: Mask = (inside < 1) & (self.s > 0) & (self.s < _ALONG[-1])

    def _pose(self, axes: Sequence[NDArray[np.float32]]) -> None:
        rng = self.rng
        size = rng.uniform(0.9, 1.06)
        s = (self.z - rng.uniform(1.2, 3.0)) / size
        roll, yaw, pitch = np.radians(rng.normal(0, (14, 2.0, 1.5)))
        bend, phase = rng.uniform(-0.55, 0.55), rng.uniform(-0.6, 0.6)
        curve = bend * np.sin(np.pi * s / 13 + phase)
        x = self.x - rng.uniform(-0.5, 0.5) - np.tan(yaw) * (s - 11) - curve
        y = self.y - rng.uniform(-0.35, 0.35) - np.tan(pitch) * (s - 11)
        slow = [spline_field(rng, axes, step_mm=5.0) for _ in range(3)]
        quick = [spline_field(rng, axes, step_mm=1.6) for _ in range(3)]
        amount = ((0.35, 0.06), (0.16, 0.05), (0.16, 0.05))
        ds, du, dv = (a * p + b * q for (a, b), p, q in zip(amount, slow, quick, strict=True))
        self.s: Field = (s + ds).astype(np.float32)
        self.u: Field = ((np.cos(roll) * x - np.sin(roll) * y) / size + du).astype(np.float32)
        self.v: Field = ((-np.sin(roll) * x - np.cos(roll) * y) / size + dv).astype(np.float32)

    def paint(self, where: Mask, material: Material, label: Label | None = None) -> None:
        """Covers what was there with a material, and with a label if one is given; without, the labels stay."""
        self.materials[where] = material
        if label is not None:
            self.labels[where] = label

    def ball(
        self, centre: tuple[float, float, float], radii: tuple[float, float, float], *, vary: float = 0.1
    ) -> Field:
        """Squared distance (Z, Y, X) from a centre (s, u, v), in radii that vary from fish to fish; inside: < 1."""
        rng = self.rng
        cs, cu, cv = (c + vary * rng.normal(0, 0.5) * r for c, r in zip(centre, radii, strict=True))
        rs, ru, rv = (r * float(np.exp(rng.normal(0, vary))) for r in radii)
        squared: Field = ((self.s - cs) / rs) ** 2 + ((self.u - cu) / ru) ** 2 + ((self.v - cv) / rv) ** 2
        return squared

    def pipe(self, s: Sequence[float], u: Sequence[float], v: Sequence[float], radius: Sequence[float]) -> Field:
        """Squared distance from a line that runs along the body, in radii; inside: < 1, nowhere beyond its ends."""
        line = np.clip(self.s, s[0], s[-1])
        du, dv = (self.u - np.interp(line, s, u)), (self.v - np.interp(line, s, v))
        ds = self.s - line
        squared: Field = ((du**2 + dv**2 + ds**2) / np.interp(line, s, radius) ** 2).astype(np.float32)
        return squared


def spline_field(
    rng: np.random.Generator, axes: Sequence[NDArray[np.float32]], *, step_mm: float
) -> NDArray[np.float32]:
    """Smooth noise of about unit standard deviation on a grid of positions (mm, from 0): float32 (Z, Y, X).

    The random numbers are the knots' alone, `step_mm` apart, so that the field is the same at any sampling.
    """
    knots = [int(np.ceil(length / step_mm)) + 3 for length in FIELD_OF_VIEW_MM]
    field: NDArray[Any] = rng.standard_normal(knots, dtype=np.float32)
    for positions, count in zip(axes, knots, strict=True):
        distance = np.abs(positions[:, None] / step_mm - (np.arange(count) - 1))
        near, far = 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6
        weights = np.where(distance < 1, near, far).astype(np.float32)
        field = np.tensordot(field, weights, axes=(0, 1))  # moves the first axis to the end; three times: as before
    return np.ascontiguousarray(field / np.float32(0.33))


def _profile(s: Field, values: Sequence[float]) -> Field:
    """A smooth curve through the values at _ALONG."""
    fine = np.linspace(_ALONG[0], _ALONG[-1], 500)
    return np.interp(s, fine, PchipInterpolator(_ALONG, values)(fine)).astype(np.float32)
