"""What the synthetic fish is made of: a medaka in its tube, as materials and organ labels, noise-free.

Places are (s, u, v) in mm: from the snout to the tail, to the left, to the back. Every fish has its own pose, and its
organs have sizes and places of their own. What is painted later lies in front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Triple
from training.phantom.canvas import Canvas, Label, Mask, Material

GONAD_ABSENT = 0.05
"""Share of the fish that are juvenile and have no gonad yet."""

_TUBE_MM = (4.5, 4.2)
"""Outer and inner radius."""


@dataclass(frozen=True)
class Anatomy:
    """One fish, before it is scanned."""

    materials: NDArray[np.uint8]
    """(Z, Y, X): Material of each voxel."""
    labels: NDArray[np.uint8]
    """(Z, Y, X): Label of each voxel, 0 outside organs."""


def build_anatomy(shape: Triple, rng: np.random.Generator) -> Anatomy:
    """A random fish in its tube. The same generator gives the same fish at any number of voxels."""
    fish = Canvas(shape, rng)
    for draw in (_tube, _body, _fins, _head, _abdomen, _column):
        draw(fish)
    return Anatomy(fish.materials, fish.labels)


def _tube(fish: Canvas) -> None:
    """Wall, medium, and sometimes a bubble."""
    radius = fish.y**2 + fish.x**2
    fish.paint(np.broadcast_to(radius < _TUBE_MM[0] ** 2, fish.labels.shape), Material.TUBE)
    fish.paint(np.broadcast_to(radius < _TUBE_MM[1] ** 2, fish.labels.shape), Material.MEDIUM)
    z, angle, side = fish.rng.uniform(2, 28), fish.rng.uniform(0, 2 * np.pi), fish.rng.uniform(0.4, 0.9)
    if fish.rng.random() < 0.35:
        y, x = 3.75 * np.cos(angle), 3.75 * np.sin(angle)
        bubble = (fish.z - z) ** 2 + (fish.y - y) ** 2 + (fish.x - x) ** 2 < side**2
        fish.paint(bubble & (radius < _TUBE_MM[1] ** 2), Material.GAS)


def _body(fish: Canvas) -> None:
    """Muscle in segments, and skin."""
    fish.paint(fish.body, Material.MUSCLE)
    chevron = fish.s + 0.8 * np.abs(fish.v - 0.5)
    fish.paint(fish.body & (np.mod(chevron, 1.25) < 0.24) & (fish.s > 6.5), Material.SEPTUM)
    under = fish.body & (fish.depth < 0.3) & (fish.s > 4)
    fish.paint(under, Material.FAT)
    fish.paint(fish.body & (fish.depth < 0.14), Material.SKIN)


def _fins(fish: Canvas) -> None:
    """Thin sheets with rays, on the back, below, at the sides and at the tail."""
    rng, s, u, v = fish.rng, fish.s, fish.u, fish.v
    sway = np.float32(rng.normal(0, 0.25))
    rays = np.mod(s + 0.35 * v, 0.6) < 0.22
    inside_tube = (fish.y**2 + fish.x**2 < _TUBE_MM[1] ** 2) & ~fish.body
    back = (s > 14.5) & (s < 18.6) & (v > 0) & (v < fish.height + 1.3 - 0.25 * np.abs(s - 16))
    belly = (s > 12.8) & (s < 18.8) & (v < 0) & (-v < fish.height + 1.1 - 0.12 * np.abs(s - 15))
    tail = (s >= 20.6) & (s < 26) & (np.abs(v) < 0.9 + 0.38 * (s - 20.6))
    beyond = np.maximum(np.abs(v) - fish.height, 0)
    middle = (np.abs(u - sway * beyond) < 0.1) & (back | belly)
    middle |= tail & (np.abs(u - 0.15 * sway * (s - 20.6)) < 0.11)
    for side in (-1, 1):
        away = side * u - fish.width - 0.12 - np.float32(rng.uniform(0.1, 0.35)) * (s - 6.6)
        middle |= (np.abs(away) < 0.09) & (s > 6.6) & (s < 9.6) & (np.abs(v + 0.5) < 0.3 + 0.3 * (s - 6.6))
    fish.paint(middle & inside_tube, Material.FIN)
    fish.paint(middle & inside_tube & rays, Material.BONE)


def _head(fish: Canvas) -> None:
    """Eyes, brain, skull, otoliths, jaws and gills."""
    s, u, v = fish.s, fish.u, fish.v
    mouth = fish.pipe((0.2, 2.5, 6.0), (0, 0, 0), (-0.1, -0.8, -0.9), (0.25, 0.4, 0.55))
    fish.paint((mouth < 1) & (s > 0), Material.MEDIUM)
    for side in (-1, 1):
        gill = fish.ball((5.3, side * 1.15, -0.85), (1.25, 0.55, 1.05)) < 1
        fish.paint(gill & fish.body, Material.MEDIUM)
        lamella = np.sin(7.5 * v + 2.5 * s + 4 * np.abs(u)) > -0.35
        fish.paint(gill & fish.body & lamella, Material.GILL)
        jaw = fish.pipe((0.4, 1.2, 2.8), (side * 0.3, side * 0.75, side * 1.0), (-0.2, -0.6, -1.1), (0.16,) * 3)
        fish.paint(jaw < 1, Material.BONE)
    cover = (fish.depth > 0.14) & (fish.depth < 0.3) & (s > 4.6) & (s < 6.9) & (np.abs(v + 0.5) < 1.4)
    fish.paint(fish.body & cover & (np.abs(u) > 0.9), Material.BONE)
    _brain(fish)
    _eye(fish, 1, Label.LEFT_EYE)
    _eye(fish, -1, Label.RIGHT_EYE)
    for side in (-1, 1):
        fish.paint(fish.ball((5.9, side * 0.85, 0.35), (0.42, 0.2, 0.28)) < 1, Material.OTOLITH)


def _brain(fish: Canvas) -> None:
    middle = fish.rng.normal(0, 0.08)
    lobes = [
        fish.ball((3.1, 0, 1.0 + middle), (0.85, 0.42, 0.4), vary=0.07),
        fish.ball((4.4, 0.48, 1.25 + middle), (0.95, 0.62, 0.58), vary=0.07),
        fish.ball((4.4, -0.48, 1.25 + middle), (0.95, 0.62, 0.58), vary=0.07),
        fish.ball((4.5, 0, 0.75 + middle), (1.0, 0.55, 0.45), vary=0.07),
        fish.ball((5.7, 0, 1.15 + middle), (0.9, 0.5, 0.55), vary=0.07),
        fish.pipe((5.8, 7.2), (0, 0), (1.05 + middle, 1.55), (0.45, 0.26)),
    ]
    nearest = np.minimum.reduce(lobes)
    case = fish.body & (nearest < 1.75) & (nearest >= 1.25) & (fish.s > 2.4) & (fish.s < 7)
    fish.paint(fish.body & (nearest < 1.25) & (fish.s < 7), Material.FAT)
    fish.paint(case, Material.BONE)
    fish.paint(fish.body & (nearest < 1), Material.BRAIN, Label.BRAIN)


def _eye(fish: Canvas, side: int, label: Label) -> None:
    size = float(fish.rng.uniform(0.92, 1.1))
    su, sv = side * 1.42 + fish.rng.normal(0, 0.05), 0.45 + fish.rng.normal(0, 0.08)
    eye = fish.ball((2.9, su, sv), (1.12 * size, 0.88 * size, 1.05 * size), vary=0.04)
    fish.paint((eye < 1) & (fish.depth > -0.45), Material.VITREOUS, label)
    fish.paint((eye < 1) & (eye > 0.7) & (fish.depth > -0.45) & (fish.s > 0), Material.RETINA)
    lens = fish.ball((2.9, su + side * 0.22, sv), (0.5, 0.42, 0.45), vary=0.05)
    fish.paint((lens < 1) & (eye < 1) & (fish.depth > -0.45), Material.LENS, label)


def _abdomen(fish: Canvas) -> None:
    """The cavity with heart, liver, gut, gonad, swim bladder and kidney, and the ribs around it."""
    cavity = fish.ball((10.2, 0, -0.75), (4.6, 1.78, 1.95), vary=0.03)
    inside = fish.body & (fish.depth > 0.3)
    ribs = inside & (cavity >= 1) & (cavity < 1.14) & (fish.v > -1.8) & (np.mod(fish.s, 1.0) < 0.4)
    fish.paint(ribs, Material.BONE)
    cavity_mask = inside & (cavity < 1)
    fish.paint(cavity_mask, Material.FAT)
    _heart(fish, inside)
    _liver(fish, cavity_mask)
    _gonad(fish, cavity_mask)
    _gut(fish, inside)
    _bladder(fish, inside)
    _kidney(fish, inside)


def _heart(fish: Canvas, inside: Mask) -> None:
    ventricle = fish.ball((6.55, 0.05, -1.75), (0.85, 0.72, 0.62))
    bulb = fish.ball((5.75, 0, -1.6), (0.6, 0.32, 0.3))
    atrium = fish.ball((6.9, 0.15, -1.25), (0.6, 0.55, 0.35))
    around = np.minimum(ventricle, atrium)
    fish.paint(inside & (around < 1.5), Material.FAT)
    fish.paint(inside & (np.minimum(around, bulb) < 1), Material.HEART, Label.HEART)
    fish.paint(inside & ((ventricle < 0.16) | (atrium < 0.45)), Material.BLOOD)


def _liver(fish: Canvas, cavity: Mask) -> None:
    left = fish.ball((8.8, 0.75, -1.0), (1.75, 0.95, 1.15))
    right = fish.ball((8.1, -0.55, -1.35), (1.05, 0.8, 0.7))
    tip = fish.ball((10.4, 1.05, -0.9), (1.3, 0.5, 0.6))
    liver = cavity & (np.minimum.reduce([left, right, tip]) < 1)
    fish.paint(liver, Material.LIVER, Label.LIVER)
    fish.paint(liver & (fish.texture > 1.7), Material.BLOOD)


def _gonad(fish: Canvas, cavity: Mask) -> None:
    ovary = np.minimum(
        fish.ball((12.0, -0.1, -0.75), (1.7, 0.85, 0.7), vary=0.12),
        fish.ball((10.9, -0.5, -0.6), (1.2, 0.6, 0.5), vary=0.12),
    )
    s, u, v = 5.2 * fish.s, 6.0 * fish.u + 1, 6.0 * fish.v + 2
    eggs = np.sin(s) * np.sin(u) + np.sin(u) * np.sin(v) + np.sin(v) * np.sin(s) > 0.5
    juvenile = fish.rng.random() < GONAD_ABSENT
    if not juvenile:
        fish.paint(cavity & (ovary < 1), Material.GONAD, Label.GONAD)
        fish.paint(cavity & (ovary < 0.8) & eggs, Material.EGG)


def _gut(fish: Canvas, inside: Mask) -> None:
    u, v = fish.rng.normal(0, 0.12, 2)
    full = float(fish.rng.uniform(0.85, 1.2))
    runs = [
        fish.pipe((6.4, 7.5, 9.0), (0, -0.4, -0.95 + u), (-0.6, -0.55, -0.9 + v), (0.34, 0.42, 0.5 * full)),
        fish.pipe((9.0, 11.2), (-0.95 + u, -0.8 + u), (-0.9 + v, -1.75), (0.5 * full, 0.45)),
        fish.pipe((9.6, 11.2), (0.1, -0.8 + u), (-1.95 + v, -1.75), (0.42, 0.45)),
        fish.pipe((9.6, 12.5, 14.6), (0.1, 0.45 + u, 0), (-1.95 + v, -1.75, -2.3), (0.42, 0.46 * full, 0.3)),
    ]
    gut = np.minimum.reduce(runs)
    fish.paint(inside & (gut < 1), Material.GUT_WALL, Label.GUT)
    fish.paint(inside & (gut < 0.42 + 0.08 * fish.texture), Material.GUT_CONTENT)


def _bladder(fish: Canvas, inside: Mask) -> None:
    chamber = np.minimum(
        fish.ball((9.2, 0, 0.3), (1.9, 0.92, 0.62), vary=0.08),
        fish.ball((11.3, 0, 0.3), (1.8, 0.75, 0.55), vary=0.08),
    )
    fish.paint(inside & (chamber < 1), Material.GAS, Label.SWIM_BLADDER)


def _kidney(fish: Canvas, inside: Mask) -> None:
    taper = np.interp(fish.s, (6.5, 7.2, 8.2, 12.5, 14.0), (0, 1.0, 0.75, 0.6, 0)).astype(np.float32)
    size = float(fish.rng.uniform(0.92, 1.12))
    for side in (-1, 1):
        across = (fish.u - side * 0.45 * (0.4 + 0.6 * taper)) / (0.62 * size)
        along = (fish.v - np.interp(fish.s, (6.5, 8.5), (0.62, 1.02)).astype(np.float32)) / (0.36 * size)
        fish.paint(inside & (across**2 + along**2 < taper), Material.KIDNEY, Label.KIDNEY)


def _column(fish: Canvas) -> None:
    """Vertebrae, ringed and segmented, with arches and spines above them, and the spinal cord."""
    s, u, v = fish.s, fish.u, fish.v
    line = ((6.9, 9.0, 14.0, 20.8), (0, 0, 0, 0), (1.35, 1.68, 0.95, 0.05))
    level = np.interp(s, line[0], line[2]).astype(np.float32)
    spine = fish.pipe(*line, (0.42, 0.5, 0.42, 0.28))
    segment = np.mod(s, 1.0)
    above, below = v - level, level - v
    thin, arches = np.abs(u) < 0.1, fish.body & (fish.depth > 0.2) & (s > 7.4) & (segment < 0.42)
    fish.paint(arches & thin & (above > 0.4) & (above < 1.35), Material.BONE)
    fish.paint(arches & thin & (below > 0.3) & (below < 1.1) & (s > 14.2), Material.BONE)
    fish.paint(fish.body & (u**2 + (above - 0.62) ** 2 < 0.045) & (s > 7), Material.CORD)
    fish.paint(fish.body & (spine < 1), Material.BONE, Label.SPINE)
    fish.paint(fish.body & (spine < np.where(segment < 0.5, 0.3, 0.12)), Material.CORD)
