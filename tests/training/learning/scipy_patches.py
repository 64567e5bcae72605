"""Patches as SciPy makes them, one by one: what `training.learning.posing` and `grey_values` have to agree with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, zoom

from training.learning.augmentation import GreyChange


@dataclass(frozen=True)
class Pose:
    """Patch position p shows start + middle + linear (p - middle) of a slice."""

    side: int
    start: tuple[int, int]
    linear: NDArray[np.float64]

    def image(self, slice_: NDArray[Any], *, fill: float) -> NDArray[np.float32]:
        patch = np.empty((self.side, self.side), dtype=np.float32)
        self._resample(slice_, patch, order=1, fill=fill)
        return patch

    def labels(self, slice_: NDArray[np.uint8]) -> NDArray[np.uint8]:
        patch = np.empty((self.side, self.side), dtype=np.uint8)
        self._resample(slice_, patch, order=0, fill=0)
        return patch

    def _resample(self, slice_: NDArray[Any], patch: NDArray[Any], *, order: Literal[0, 1], fill: float) -> None:
        middle = np.full(2, (self.side - 1) / 2)
        offset = np.array(self.start) + middle - self.linear @ middle
        affine_transform(slice_, self.linear, offset, output=patch, order=order, mode="constant", cval=fill)


def changed_grey_values(
    patch: NDArray[np.float32], labels: NDArray[np.uint8], change: GreyChange, noise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`noise` is of mean 0 and standard deviation 1."""
    patch = _of_other_tissue(patch, labels, change.classes)
    if change.blur:
        patch = gaussian_filter(patch, change.blur)
    if change.coarse:
        small = zoom(patch, [change.coarse / side for side in patch.shape], order=1)
        patch = zoom(small, [side / change.coarse for side in patch.shape], order=1)
    mean = patch.mean()
    changed = (patch - mean) * change.contrast + mean + change.brightness + change.deviation * noise
    normalised: NDArray[np.float32] = np.clip(changed, 0, 1) ** change.gamma
    return normalised


def _of_other_tissue(
    patch: NDArray[np.float32], labels: NDArray[np.uint8], factors: NDArray[np.float32]
) -> NDArray[np.float32]:
    changed = patch.copy()
    for class_ in np.unique(labels):
        here = labels == class_
        contrast, brightness = factors[min(int(class_), len(factors) - 1)]
        mean = patch[here].mean()
        changed[here] = (patch[here] - mean) * contrast + mean * brightness
    return changed
