"""What the synthetic fish is made of: a medaka in its tube, as materials and organ labels, noise-free.

Coordinates of the fish, in mm: `s` from the snout to the tail, `u` to its left, `v` to its back. They are curved: every
fish is bent, turned, shifted and smoothly deformed, and its organs have sizes and places of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Spacing, Triple

Field = NDArray[np.float32]
"""float32, broadcastable to (Z, Y, X)."""
Mask = NDArray[np.bool_]

FIELD_OF_VIEW_MM = (30.0, 10.0, 10.0)
"""What is scanned, along z, y, x, at any number of voxels."""
GONAD_ABSENT = 0.05
"""Share of the fish that are juvenile and have no gonad yet."""

_TUBE_MM = (4.85, 4.5)
"""Outer and inner radius."""
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


@dataclass(frozen=True)
class Anatomy:
    """One fish, before it is scanned."""

    materials: NDArray[np.uint8]
    """(Z, Y, X): Material of each voxel."""
    labels: NDArray[np.uint8]
    """(Z, Y, X): Label of each voxel, 0 outside organs."""


def spacing_of(shape: Triple) -> Spacing:
    """The spacing at which that many voxels fill the field of view."""
    z, y, x = (length / n for length, n in zip(FIELD_OF_VIEW_MM, shape, strict=True))
    return Spacing(z=z, y=y, x=x)


def build_anatomy(shape: Triple, rng: np.random.Generator) -> Anatomy:
    """A random fish in its tube. The same generator gives the same fish at any number of voxels."""
    fish = _Fish(shape, rng)
    fish.tube()
    fish.body()
    fish.fins()
    fish.head()
    fish.abdomen()
    fish.column()
    return Anatomy(fish.materials, fish.labels)


class _Fish:
    """Paints structures one over the other, those in front last."""

    def __init__(self, shape: Triple, rng: np.random.Generator) -> None:
        self._rng = rng
        self.materials = np.full(shape, Material.AIR, dtype=np.uint8)
        self.labels = np.zeros(shape, dtype=np.uint8)
        axes = [
            ((np.arange(n) + 0.5) * (length / n)).astype(np.float32)
            for n, length in zip(shape, FIELD_OF_VIEW_MM, strict=True)
        ]
        self._z, self._y, self._x = (
            axes[0][:, None, None],
            axes[1][None, :, None] - np.float32(FIELD_OF_VIEW_MM[1] / 2),
            axes[2][None, None, :] - np.float32(FIELD_OF_VIEW_MM[2] / 2),
        )
        self._texture = spline_field(rng, axes, step_mm=0.9)
        self._pose(axes)
        self._height = _profile(self.s, _HALF_HEIGHT) * np.float32(rng.uniform(0.92, 1.08))
        self._width = _profile(self.s, _HALF_WIDTH) * np.float32(rng.uniform(0.9, 1.1))
        inside = (self.u / self._width) ** 2 + (self.v / self._height) ** 2
        self._depth: Field = (1 - np.sqrt(inside)) * np.minimum(self._width, self._height)  # mm below the skin, about
        self._body: Mask = (inside < 1) & (self.s > 0) & (self.s < _ALONG[-1])

    def _pose(self, axes: Sequence[NDArray[np.float32]]) -> None:
        rng = self._rng
        size = rng.uniform(0.9, 1.06)
        s = (self._z - rng.uniform(1.2, 3.0)) / size
        roll, yaw, pitch = np.radians(rng.normal(0, (14, 2.0, 1.5)))
        bend, phase = rng.normal(0, 0.35), rng.uniform(-0.6, 0.6)
        curve = bend * np.sin(np.pi * s / 13 + phase)
        x = self._x - rng.normal(0, 0.25) - np.tan(yaw) * (s - 11) - curve
        y = self._y - rng.normal(0, 0.25) - np.tan(pitch) * (s - 11)
        slow = [spline_field(rng, axes, step_mm=5.0) for _ in range(3)]
        quick = [spline_field(rng, axes, step_mm=1.6) for _ in range(3)]
        amount = ((0.35, 0.06), (0.16, 0.05), (0.16, 0.05))
        ds, du, dv = (a * p + b * q for (a, b), p, q in zip(amount, slow, quick, strict=True))
        self.s: Field = (s + ds).astype(np.float32)
        self.u: Field = ((np.cos(roll) * x - np.sin(roll) * y) / size + du).astype(np.float32)
        self.v: Field = ((-np.sin(roll) * x - np.cos(roll) * y) / size + dv).astype(np.float32)

    def _paint(self, where: Mask, material: Material, label: Label | None = None) -> None:
        self.materials[where] = material
        if label is not None:
            self.labels[where] = label

    def _ball(
        self, centre: tuple[float, float, float], radii: tuple[float, float, float], *, vary: float = 0.1
    ) -> Field:
        """Squared distance (Z, Y, X) from a centre (s, u, v), in radii that vary from fish to fish; inside: < 1."""
        rng = self._rng
        cs, cu, cv = (c + vary * rng.normal(0, 0.5) * r for c, r in zip(centre, radii, strict=True))
        rs, ru, rv = (r * float(np.exp(rng.normal(0, vary))) for r in radii)
        return ((self.s - cs) / rs) ** 2 + ((self.u - cu) / ru) ** 2 + ((self.v - cv) / rv) ** 2

    def _pipe(self, s: Sequence[float], u: Sequence[float], v: Sequence[float], radius: Sequence[float]) -> Field:
        """Squared distance from a line that runs along the body, in radii; inside: < 1, nowhere beyond its ends."""
        line = np.clip(self.s, s[0], s[-1])
        du, dv = (self.u - np.interp(line, s, u)), (self.v - np.interp(line, s, v))
        ds = self.s - line
        squared = (du**2 + dv**2 + ds**2) / np.interp(line, s, radius) ** 2
        return squared.astype(np.float32)

    def tube(self) -> None:
        """Wall, medium, and sometimes a bubble."""
        radius = self._y**2 + self._x**2
        self._paint(np.broadcast_to(radius < _TUBE_MM[0] ** 2, self.labels.shape), Material.TUBE)
        self._paint(np.broadcast_to(radius < _TUBE_MM[1] ** 2, self.labels.shape), Material.MEDIUM)
        z, angle, side = self._rng.uniform(2, 28), self._rng.uniform(0, 2 * np.pi), self._rng.uniform(0.4, 0.9)
        if self._rng.random() < 0.35:
            y, x = 4.0 * np.cos(angle), 4.0 * np.sin(angle)
            bubble = (self._z - z) ** 2 + (self._y - y) ** 2 + (self._x - x) ** 2 < side**2
            self._paint(bubble & (radius < _TUBE_MM[1] ** 2), Material.GAS)

    def body(self) -> None:
        """Muscle in segments, and skin."""
        self._paint(self._body, Material.MUSCLE)
        chevron = self.s + 0.8 * np.abs(self.v - 0.5)
        self._paint(self._body & (np.mod(chevron, 1.25) < 0.24) & (self.s > 6.5), Material.SEPTUM)
        under = self._body & (self._depth < 0.3) & (self.s > 4)
        self._paint(under, Material.FAT)
        self._paint(self._body & (self._depth < 0.14), Material.SKIN)

    def fins(self) -> None:
        """Thin sheets with rays, on the back, below, at the sides and at the tail."""
        rng, s, u, v = self._rng, self.s, self.u, self.v
        sway = np.float32(rng.normal(0, 0.25))
        rays = np.mod(s + 0.35 * v, 0.6) < 0.22
        inside_tube = (self._y**2 + self._x**2 < _TUBE_MM[1] ** 2) & ~self._body
        back = (s > 14.5) & (s < 18.6) & (v > 0) & (v < self._height + 1.3 - 0.25 * np.abs(s - 16))
        belly = (s > 12.8) & (s < 18.8) & (v < 0) & (-v < self._height + 1.1 - 0.12 * np.abs(s - 15))
        tail = (s >= 20.6) & (s < 26) & (np.abs(v) < 0.9 + 0.38 * (s - 20.6))
        beyond = np.maximum(np.abs(v) - self._height, 0)
        middle = (np.abs(u - sway * beyond) < 0.1) & (back | belly)
        middle |= tail & (np.abs(u - 0.15 * sway * (s - 20.6)) < 0.11)
        for side in (-1, 1):
            away = side * u - self._width - 0.12 - np.float32(rng.uniform(0.1, 0.35)) * (s - 6.6)
            middle |= (np.abs(away) < 0.09) & (s > 6.6) & (s < 9.6) & (np.abs(v + 0.5) < 0.3 + 0.3 * (s - 6.6))
        self._paint(middle & inside_tube, Material.FIN)
        self._paint(middle & inside_tube & rays, Material.BONE)

    def head(self) -> None:
        """Eyes, brain, skull, otoliths, jaws and gills."""
        s, u, v = self.s, self.u, self.v
        mouth = self._pipe((0.2, 2.5, 6.0), (0, 0, 0), (-0.1, -0.8, -0.9), (0.25, 0.4, 0.55))
        self._paint((mouth < 1) & (s > 0), Material.MEDIUM)
        for side in (-1, 1):
            gill = self._ball((5.3, side * 1.15, -0.85), (1.25, 0.55, 1.05)) < 1
            self._paint(gill & self._body, Material.MEDIUM)
            lamella = np.sin(7.5 * v + 2.5 * s + 4 * np.abs(u)) > -0.35
            self._paint(gill & self._body & lamella, Material.GILL)
            jaw = self._pipe((0.4, 1.2, 2.8), (side * 0.3, side * 0.75, side * 1.0), (-0.2, -0.6, -1.1), (0.16,) * 3)
            self._paint(jaw < 1, Material.BONE)
        cover = (self._depth > 0.14) & (self._depth < 0.3) & (s > 4.6) & (s < 6.9) & (np.abs(v + 0.5) < 1.4)
        self._paint(self._body & cover & (np.abs(u) > 0.9), Material.BONE)
        self._brain()
        self._eye(1, Label.LEFT_EYE)
        self._eye(-1, Label.RIGHT_EYE)
        for side in (-1, 1):
            self._paint(self._ball((5.9, side * 0.85, 0.35), (0.42, 0.2, 0.28)) < 1, Material.OTOLITH)

    def _brain(self) -> None:
        middle = self._rng.normal(0, 0.08)
        lobes = [
            self._ball((3.1, 0, 1.0 + middle), (0.85, 0.42, 0.4), vary=0.07),
            self._ball((4.4, 0.48, 1.25 + middle), (0.95, 0.62, 0.58), vary=0.07),
            self._ball((4.4, -0.48, 1.25 + middle), (0.95, 0.62, 0.58), vary=0.07),
            self._ball((4.5, 0, 0.75 + middle), (1.0, 0.55, 0.45), vary=0.07),
            self._ball((5.7, 0, 1.15 + middle), (0.9, 0.5, 0.55), vary=0.07),
            self._pipe((5.8, 7.2), (0, 0), (1.05 + middle, 1.55), (0.45, 0.26)),
        ]
        nearest = np.minimum.reduce(lobes)
        case = self._body & (nearest < 1.75) & (nearest >= 1.25) & (self.s > 2.4) & (self.s < 7)
        self._paint(self._body & (nearest < 1.25) & (self.s < 7), Material.FAT)
        self._paint(case, Material.BONE)
        self._paint(self._body & (nearest < 1), Material.BRAIN, Label.BRAIN)

    def _eye(self, side: int, label: Label) -> None:
        size = float(self._rng.uniform(0.92, 1.1))
        su, sv = side * 1.42 + self._rng.normal(0, 0.05), 0.45 + self._rng.normal(0, 0.08)
        eye = self._ball((2.9, su, sv), (1.12 * size, 0.88 * size, 1.05 * size), vary=0.04)
        self._paint((eye < 1) & (self._depth > -0.45), Material.VITREOUS, label)
        self._paint((eye < 1) & (eye > 0.7) & (self._depth > -0.45) & (self.s > 0), Material.RETINA)
        lens = self._ball((2.9, su + side * 0.22, sv), (0.5, 0.42, 0.45), vary=0.05)
        self._paint(lens < 1, Material.LENS)
        self._paint((lens < 1) & (self._depth > -0.45), Material.LENS, label)

    def abdomen(self) -> None:
        """The cavity with heart, liver, gut, gonad, swim bladder and kidney, and the ribs around it."""
        cavity = self._ball((10.2, 0, -0.75), (4.6, 1.78, 1.95), vary=0.03)
        inside = self._body & (self._depth > 0.3)
        ribs = inside & (cavity >= 1) & (cavity < 1.14) & (self.v > -1.8) & (np.mod(self.s, 1.0) < 0.4)
        self._paint(ribs, Material.BONE)
        cavity_mask = inside & (cavity < 1)
        self._paint(cavity_mask, Material.FAT)
        self._heart(inside)
        self._liver(cavity_mask)
        self._gonad(cavity_mask)
        self._gut(inside)
        self._bladder(inside)
        self._kidney(inside)

    def _heart(self, inside: Mask) -> None:
        ventricle = self._ball((6.55, 0.05, -1.75), (0.85, 0.72, 0.62))
        bulb = self._ball((5.75, 0, -1.6), (0.6, 0.32, 0.3))
        atrium = self._ball((6.9, 0.15, -1.25), (0.6, 0.55, 0.35))
        around = np.minimum(ventricle, atrium)
        self._paint(inside & (around < 1.5), Material.FAT)
        self._paint(inside & (np.minimum(around, bulb) < 1), Material.HEART, Label.HEART)
        self._paint(inside & ((ventricle < 0.16) | (atrium < 0.45)), Material.BLOOD)

    def _liver(self, cavity: Mask) -> None:
        left = self._ball((8.8, 0.75, -1.0), (1.75, 0.95, 1.15))
        right = self._ball((8.1, -0.55, -1.35), (1.05, 0.8, 0.7))
        tip = self._ball((10.4, 1.05, -0.9), (1.3, 0.5, 0.6))
        liver = cavity & (np.minimum.reduce([left, right, tip]) < 1)
        self._paint(liver, Material.LIVER, Label.LIVER)
        self._paint(liver & (self._texture > 1.7), Material.BLOOD)

    def _gonad(self, cavity: Mask) -> None:
        ovary = np.minimum(
            self._ball((12.0, -0.1, -0.75), (1.7, 0.85, 0.7), vary=0.12),
            self._ball((10.9, -0.5, -0.6), (1.2, 0.6, 0.5), vary=0.12),
        )
        s, u, v = 5.2 * self.s, 6.0 * self.u + 1, 6.0 * self.v + 2
        eggs = np.sin(s) * np.sin(u) + np.sin(u) * np.sin(v) + np.sin(v) * np.sin(s) > 0.5
        juvenile = self._rng.random() < GONAD_ABSENT
        if not juvenile:
            self._paint(cavity & (ovary < 1), Material.GONAD, Label.GONAD)
            self._paint(cavity & (ovary < 0.8) & eggs, Material.EGG)

    def _gut(self, inside: Mask) -> None:
        u, v = self._rng.normal(0, 0.12, 2)
        full = float(self._rng.uniform(0.85, 1.2))
        runs = [
            self._pipe((6.4, 7.5, 9.0), (0, -0.4, -0.95 + u), (-0.6, -0.55, -0.9 + v), (0.34, 0.42, 0.5 * full)),
            self._pipe((9.0, 11.2), (-0.95 + u, -0.8 + u), (-0.9 + v, -1.75), (0.5 * full, 0.45)),
            self._pipe((9.6, 11.2), (0.1, -0.8 + u), (-1.95 + v, -1.75), (0.42, 0.45)),
            self._pipe((9.6, 12.5, 14.6), (0.1, 0.45 + u, 0), (-1.95 + v, -1.75, -2.3), (0.42, 0.46 * full, 0.3)),
        ]
        gut = np.minimum.reduce(runs)
        self._paint(inside & (gut < 1), Material.GUT_WALL, Label.GUT)
        self._paint(inside & (gut < 0.42 + 0.08 * self._texture), Material.GUT_CONTENT)

    def _bladder(self, inside: Mask) -> None:
        chamber = np.minimum(
            self._ball((9.2, 0, 0.3), (1.9, 0.92, 0.62), vary=0.08),
            self._ball((11.3, 0, 0.3), (1.8, 0.75, 0.55), vary=0.08),
        )
        self._paint(inside & (chamber < 1), Material.GAS, Label.SWIM_BLADDER)

    def _kidney(self, inside: Mask) -> None:
        taper = np.interp(self.s, (6.5, 7.2, 8.2, 12.5, 14.0), (0, 1.0, 0.75, 0.6, 0)).astype(np.float32)
        size = float(self._rng.uniform(0.92, 1.12))
        for side in (-1, 1):
            across = (self.u - side * 0.45 * (0.4 + 0.6 * taper)) / (0.62 * size)
            along = (self.v - np.interp(self.s, (6.5, 8.5), (0.62, 1.02)).astype(np.float32)) / (0.36 * size)
            self._paint(inside & (across**2 + along**2 < taper), Material.KIDNEY, Label.KIDNEY)

    def column(self) -> None:
        """Vertebrae, ringed and segmented, with arches and spines above them, and the spinal cord."""
        s, u, v = self.s, self.u, self.v
        line = ((6.9, 9.0, 14.0, 20.8), (0, 0, 0, 0), (1.35, 1.68, 0.95, 0.05))
        level = np.interp(s, line[0], line[2]).astype(np.float32)
        spine = self._pipe(*line, (0.42, 0.5, 0.42, 0.28))
        segment = np.mod(s, 1.0)
        above, below = v - level, level - v
        thin, arches = np.abs(u) < 0.1, self._body & (self._depth > 0.2) & (s > 7.4) & (segment < 0.42)
        self._paint(arches & thin & (above > 0.4) & (above < 1.35), Material.BONE)
        self._paint(arches & thin & (below > 0.3) & (below < 1.1) & (s > 14.2), Material.BONE)
        self._paint(self._body & (u**2 + (above - 0.62) ** 2 < 0.045) & (s > 7), Material.CORD)
        self._paint(self._body & (spine < 1), Material.BONE, Label.SPINE)
        self._paint(self._body & (spine < np.where(segment < 0.5, 0.3, 0.12)), Material.CORD)


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
    return np.interp(s, _ALONG, values).astype(np.float32)
