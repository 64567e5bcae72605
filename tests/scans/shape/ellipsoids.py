"""A fish of ellipsoids, of known size and place, in any pose and on any grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Frame, Spacing
from scans.organs import OrganMap
from scans.volume import Volume

ORGANS = OrganMap.from_mapping({1: "left_eye", 2: "right_eye", 3: "brain", 4: "heart", 5: "spine", 6: "gonad"})


@dataclass(frozen=True)
class Ellipsoid:
    """Towards head, left and back of a fish, in mm."""

    middle: tuple[float, float, float]
    radii: tuple[float, float, float]

    @property
    def volume_mm3(self) -> float:
        return 4 / 3 * math.pi * math.prod(self.radii)


FISH: Mapping[str, Ellipsoid] = {
    "spine": Ellipsoid((-3.0, 0.0, 1.2), (6.0, 0.5, 0.5)),
    "left_eye": Ellipsoid((6.0, 1.1, 0.3), (0.9, 0.7, 0.9)),
    "right_eye": Ellipsoid((6.0, -1.1, 0.3), (0.9, 0.7, 0.9)),
    "brain": Ellipsoid((4.0, 0.0, 0.8), (1.4, 1.0, 0.6)),
    "heart": Ellipsoid((2.0, 0.0, -1.5), (0.8, 0.6, 0.7)),
    "gonad": Ellipsoid((-2.0, 0.0, -0.9), (2.0, 1.0, 0.9)),
}
"""Lies with its head towards x, its left towards y, its back towards z: right-handed, as every fish does."""


def fish_volume(
    organs: Mapping[str, Ellipsoid] = FISH,
    *,
    names: OrganMap = ORGANS,
    turned: NDArray[np.float64] | None = None,
    spacing: Spacing = Spacing(0.2, 0.2, 0.2),  # noqa: B008 - frozen
    margin_mm: float = 1.0,
) -> Volume:
    """The fish on a grid along the world's axes, turned by a rotation (3, 3) before; organs do not reach the border."""
    rotation = np.eye(3) if turned is None else turned
    centres = {name: rotation @ organ.middle for name, organ in organs.items()}
    reach = {name: np.sqrt((rotation**2) @ np.square(organ.radii)) for name, organ in organs.items()}
    least = np.min([centres[name] - reach[name] for name in organs], axis=0) - margin_mm
    most = np.max([centres[name] + reach[name] for name in organs], axis=0) + margin_mm
    steps = np.array([spacing.x, spacing.y, spacing.z])
    count = np.ceil((most - least) / steps).astype(int) + 1
    x, y, z = (first + step * np.arange(n) for first, step, n in zip(least, steps, count, strict=True))
    places = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    labels = np.zeros(places.shape[:3], np.uint8)
    index = {organ.name: organ.index for organ in names.organs}
    for name, organ in organs.items():
        own = (places - centres[name]) @ rotation
        labels[np.sum((own / organ.radii) ** 2, axis=-1) <= 1] = index[name]
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = least
    return Volume.from_array(labels, Frame.from_affine(affine))


def rotation(axis: tuple[float, float, float], angle: float) -> NDArray[np.float64]:
    """By an angle about an axis (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: NDArray[np.float64] = np.eye(3) + math.sin(angle) * across + (1 - math.cos(angle)) * across @ across
    return turned
