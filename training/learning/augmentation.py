"""Random changes to a patch and its labels: where it lies and how it is turned, and its grey values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, zoom

from training.data.planes import Axis, order_of
from training.recipe import Augmentation

_SQUARE = 1e-6
"""By which the sides of a square pixel may differ, as they come from an affine."""
BLURRED_SHARE = 0.5
"""Of the patches that are blurred, and of those that are made coarser."""


@dataclass(frozen=True)
class Pose:
    """Which pixels of a slice a square patch shows: patch position p shows start + middle + linear (p - middle).

    `middle` is that of the patch, (side - 1) / 2 along both axes, so that a pose turns a patch around its own middle.
    """

    side: int
    """Pixels along each side of the patch."""
    start: tuple[int, int]
    """First row and column of the patch before it is turned; it may lie outside the slice."""
    linear: NDArray[np.float64]
    """(2, 2), rows and columns in y, x order: rotation, scale and reflection."""

    @property
    def reflected(self) -> bool:
        """True where the patch is a mirror image; two reflections make a rotation, and no mirror image."""
        return bool(np.linalg.det(self.linear) < 0)

    def image(self, slice_: NDArray[Any], *, fill: float) -> NDArray[np.float32]:
        """(Y, X) grey values -> float32 (side, side), interpolated linearly, `fill` outside the slice."""
        patch = np.empty((self.side, self.side), dtype=np.float32)
        self._resample(slice_, patch, order=1, fill=fill)
        return patch

    def labels(self, slice_: NDArray[np.uint8], *, mirrored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (Y, X) class indices -> uint8 (side, side), each the nearest pixel's, background outside the slice.

        `mirrored` is the class index that each class has in a mirror image, as in OrganMap.mirrored; NOT_LABELLED keeps
        its own.
        """
        patch = np.empty((self.side, self.side), dtype=np.uint8)
        self._resample(slice_, patch, order=0, fill=0)
        lookup = np.arange(256, dtype=np.uint8)
        lookup[: len(mirrored)] = mirrored
        return lookup[patch] if self.reflected else patch

    def _resample(self, slice_: NDArray[Any], patch: NDArray[Any], *, order: Literal[0, 1], fill: float) -> None:
        middle = np.full(2, (self.side - 1) / 2)
        offset = np.array(self.start) + middle - self.linear @ middle
        affine_transform(slice_, self.linear, offset, output=patch, order=order, mode="constant", cval=fill)


def along(augmentation: Augmentation, axis: Axis) -> Augmentation:
    """As it is for planes across that axis: mirrored along y and x as slices are, and never along z."""
    mirrors = (0.0, augmentation.mirror_y, augmentation.mirror_x)
    _, rows, columns = order_of(axis)
    return replace(augmentation, mirror_y=mirrors[rows], mirror_x=mirrors[columns])


def draw_linear(
    augmentation: Augmentation, rng: np.random.Generator, *, pixel: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.float64]:
    """A random (2, 2) matrix for a Pose: each axis mirrored or not, turned, larger or smaller.

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


def change_grey_values(
    patch: NDArray[np.float32], labels: NDArray[np.uint8] | None, augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Normalised grey values (Y, X) as other fish, optics and detectors would give them, still 0..1.

    `labels` are the classes of the patch, of that shape; without them (a mask that may be wrong would be seen in the
    grey values) no class changes by itself. What is switched off draws nothing.
    """
    if labels is not None and augmentation.class_contrast:
        patch = _of_other_tissue(patch, labels, augmentation, rng)
    patch = _blurred(patch, augmentation, rng)
    contrast = np.float32(1 + rng.uniform(-1, 1) * augmentation.contrast)
    brightness = np.float32(rng.uniform(-1, 1) * augmentation.brightness)
    deviation = np.float32(rng.uniform(0, 1) * augmentation.noise)
    mean = patch.mean()
    changed = (patch - mean) * contrast + (mean + brightness)
    if deviation:
        changed += deviation * rng.standard_normal(patch.shape, dtype=np.float32)
    normalised: NDArray[np.float32] = np.clip(changed, 0, 1)
    if augmentation.gamma:
        normalised **= np.float32((1 + augmentation.gamma) ** rng.uniform(-1, 1))
    return normalised


def _of_other_tissue(
    patch: NDArray[np.float32], labels: NDArray[np.uint8], augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Every class, what nobody has looked at among them, is darker or brighter, and of more or less contrast."""
    changed = patch.copy()
    for class_ in np.unique(labels):
        here = labels == class_
        contrast, brightness = rng.uniform(-1, 1, size=2).astype(np.float32) * np.float32(augmentation.class_contrast)
        mean = patch[here].mean()
        changed[here] = (patch[here] - mean) * (1 + contrast) + mean * (1 + brightness)
    return changed


def _blurred(patch: NDArray[np.float32], augmentation: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    if augmentation.blur and rng.random() < BLURRED_SHARE:
        patch = gaussian_filter(patch, rng.uniform(0, augmentation.blur))
    if augmentation.low_resolution and rng.random() < BLURRED_SHARE:
        factor = 1 + rng.uniform(0, augmentation.low_resolution)
        coarse = [max(1, round(side / factor)) for side in patch.shape]
        small = zoom(patch, [c / side for c, side in zip(coarse, patch.shape, strict=True)], order=1)
        patch = zoom(small, [side / c for c, side in zip(small.shape, patch.shape, strict=True)], order=1)
    return patch
