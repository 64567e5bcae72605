"""Random changes of patches, as they are drawn: how each is turned, and how its grey values change.

What is drawn here is carried out for whole batches at once, on the device that trains: in `posing` and `grey_values`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.planes import Axis, order_of
from training.recipe import Augmentation

_SQUARE = 1e-6
"""By which the sides of a square pixel may differ, as they come from an affine."""
BLURRED_SHARE = 0.5
"""Of the patches that are blurred, and of those that are made coarser."""


class GreyChange(NamedTuple):
    """How the normalised grey values of one patch change, in this order. What is switched off changes nothing."""

    classes: NDArray[np.float32]
    """(classes + 1, 2): factors of contrast and of brightness of each class by itself; the last is NOT_LABELLED's."""
    blur: float = 0.0
    """Standard deviation in pixels."""
    coarse: int = 0
    """Pixels along each side that it is made of; 0: as many as it has."""
    contrast: float = 1.0
    """Factor, around the mean."""
    brightness: float = 0.0
    """Summand."""
    deviation: float = 0.0
    """Standard deviation of the noise."""
    key: tuple[int, int] = (0, 0)
    """Which noise, 32 bits each."""
    gamma: float = 1.0
    """Exponent."""


def along(augmentation: Augmentation, axis: Axis) -> Augmentation:
    """As it is for planes across that axis: mirrored along y and x as slices are, and never along z."""
    mirrors = (0.0, augmentation.mirror_y, augmentation.mirror_x)
    _, rows, columns = order_of(axis)
    return replace(augmentation, mirror_y=mirrors[rows], mirror_x=mirrors[columns])


def draw_linear(
    augmentation: Augmentation, rng: np.random.Generator, *, pixel: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.float64]:
    """A random (2, 2) matrix for a pose: each axis mirrored or not, turned, larger or smaller.

    `pixel` is the distance of rows and of columns, in any unit: it is turned in space, whatever the pixels' shape.
    """
    angle = np.deg2rad(rng.uniform(-1, 1) * augmentation.rotation_degrees)
    size = 1 + rng.uniform(-1, 1) * augmentation.scale
    signs = np.where(rng.random(2) < (augmentation.mirror_y, augmentation.mirror_x), -1.0, 1.0)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if not math.isclose(*pixel, rel_tol=_SQUARE):
        rotation = rotation * (np.array(pixel) / np.array(pixel)[:, np.newaxis])
    linear: NDArray[np.float64] = rotation / size * signs
    return linear


def greatest_extent(augmentation: Augmentation, *, side: int, pixel: tuple[float, float]) -> tuple[int, int]:
    """The most rows and columns of a slice that a patch of that side can show, however `draw_linear` turns it."""
    greatest = math.radians(min(augmentation.rotation_degrees, 90.0))
    extents = []
    for own, other in (pixel, pixel[::-1]):
        angle = min(greatest, math.atan2(other, own))  # where cos + other / own sin is greatest
        reach = math.cos(angle) + other / own * math.sin(angle)
        extents.append(math.ceil((side - 1) * reach / (1 - augmentation.scale)) + 3)
    return extents[0], extents[1]


def draw_grey_change(
    augmentation: Augmentation, rng: np.random.Generator, *, side: int, classes: int = 0, by_class: bool = False
) -> GreyChange:
    """How a patch of that side comes to look as other fish, optics and detectors would have it.

    `classes` is how many classes its labels have; each changes by itself where they are the truth (`by_class`: a mask
    that may be wrong would be seen in the grey values). What is switched off draws nothing.
    """
    factors = np.ones((classes + 1, 2), dtype=np.float32)
    if by_class and augmentation.class_contrast:
        factors += rng.uniform(-1, 1, size=factors.shape).astype(np.float32) * np.float32(augmentation.class_contrast)
    blur, coarse = 0.0, 0
    if augmentation.blur and rng.random() < BLURRED_SHARE:
        blur = rng.uniform(0, augmentation.blur)
    if augmentation.low_resolution and rng.random() < BLURRED_SHARE:
        coarse = max(1, round(side / (1 + rng.uniform(0, augmentation.low_resolution))))
    contrast, brightness, noise = rng.uniform(-1, 1, size=3)
    key = rng.integers(2**32, size=2) if augmentation.noise else (0, 0)
    return GreyChange(
        classes=factors,
        blur=blur,
        coarse=coarse,
        contrast=1 + contrast * augmentation.contrast,
        brightness=brightness * augmentation.brightness,
        deviation=(noise + 1) / 2 * augmentation.noise,
        key=(int(key[0]), int(key[1])),
        gamma=(1 + augmentation.gamma) ** rng.uniform(-1, 1) if augmentation.gamma else 1.0,
    )
