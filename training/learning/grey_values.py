"""Grey values of patches are changed here, a whole batch at once, on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.learning.augmentation import GreyChange
from training.learning.noise import normal_noise
from training.recipe import Augmentation

_TRUNCATED = 4.0
"""Standard deviations beyond which a Gaussian is cut off, as SciPy does."""


class GreyChanges(NamedTuple):
    """The `GreyChange` of each patch of a batch; of what is switched off there is nothing, (0,)."""

    classes: Tensor
    """float32 (N, classes + 1, 2)."""
    blur: Tensor
    """float32 (N, R + 1): weights of a Gaussian at distances of 0 to R pixels."""
    coarse: Tensor
    """float32 (N,)."""
    contrast: Tensor
    """float32 (N, 1, 1, 1)."""
    brightness: Tensor
    """float32 (N, 1, 1, 1)."""
    deviation: Tensor
    """float32 (N, 1, 1, 1)."""
    keys: Tensor
    """int64 (N, 2)."""
    gamma: Tensor
    """float32 (N, 1, 1, 1)."""

    @classmethod
    def of(cls, changes: Sequence[GreyChange], augmentation: Augmentation) -> GreyChanges:
        """Those that were drawn with that augmentation."""
        nothing = torch.empty(0)

        def numbers(name: str, switch: float = 1.0) -> Tensor:
            drawn = [getattr(change, name) for change in changes]
            return torch.tensor(drawn, dtype=torch.float32).view(-1, 1, 1, 1) if switch else nothing

        classes = np.stack([change.classes for change in changes]) if augmentation.class_contrast else None
        return cls(
            classes=nothing if classes is None else torch.from_numpy(classes),
            blur=_gaussians([change.blur for change in changes], augmentation.blur) if augmentation.blur else nothing,
            coarse=numbers("coarse", augmentation.low_resolution).flatten(),
            contrast=numbers("contrast"),
            brightness=numbers("brightness"),
            deviation=numbers("deviation", augmentation.noise),
            keys=torch.tensor([change.key for change in changes]) if augmentation.noise else nothing,
            gamma=numbers("gamma", augmentation.gamma),
        )


def change_grey_values(patches: Tensor, labels: Tensor | None, changes: GreyChanges) -> Tensor:
    """Normalised grey values, float32 (N, 1, S, S), as other fish, optics and detectors would give them, still 0..1.

    `labels` are the classes of the patches, uint8 (N, S, S); without them no class changes by itself.
    """
    if labels is not None and changes.classes.numel():
        patches = _of_other_tissue(patches, labels, changes.classes)
    if changes.blur.numel() or changes.coarse.numel():
        patches = _of_less_detail(patches, changes)
    mean = patches.mean(dim=(2, 3), keepdim=True)
    changed = (patches - mean) * changes.contrast + (mean + changes.brightness)
    if changes.deviation.numel():
        noise = normal_noise(changes.keys, count=patches[0].numel()).view(patches.shape)
        changed = changed + changes.deviation * noise
    normalised = changed.clamp(0.0, 1.0)
    if changes.gamma.numel():
        normalised = normalised**changes.gamma
    return normalised


def _of_other_tissue(patches: Tensor, labels: Tensor, factors: Tensor) -> Tensor:
    """Every class, what nobody has looked at among them, is darker or brighter, and of more or less contrast."""
    classes = factors.shape[1]
    row = labels.flatten(1).long().clamp_max(classes - 1)
    grey = patches.flatten(1)
    means = []
    for class_ in range(classes):  # one after the other: sums in a fixed order, which scattered ones on a GPU are not
        here = row == class_
        means.append((grey * here).sum(dim=1) / here.sum(dim=1).clamp_min(1))
    contrast, brightness = factors.unbind(2)
    shift = torch.stack(means, dim=1) * (brightness - contrast)
    return (grey * contrast.gather(1, row) + shift.gather(1, row)).view(patches.shape)


def _of_less_detail(patches: Tensor, changes: GreyChanges) -> Tensor:
    """Blurred, then made of fewer pixels: both are linear, and the same along rows and columns."""
    side = patches.shape[-1]
    if not changes.coarse.numel():
        matrix = _blurring(changes.blur, side)
    elif not changes.blur.numel():
        matrix = _coarsening(changes.coarse, side)
    else:
        matrix = _coarsening(changes.coarse, side) @ _blurring(changes.blur, side)
    matrix = matrix.unsqueeze(1)
    return matrix @ patches @ matrix.transpose(2, 3)


def _gaussians(deviations: Sequence[float], greatest: float) -> Tensor:
    """float32 (N, R + 1), as far as the greatest deviation needs; each is cut off by itself, and sums up to 1."""
    distance = np.arange(int(_TRUNCATED * greatest + 0.5) + 1)
    sigma = np.maximum(np.array(deviations)[:, np.newaxis], 1e-6)
    weights = np.exp(-0.5 * (distance / sigma) ** 2) * (distance <= np.floor(_TRUNCATED * sigma + 0.5))
    weights /= weights[:, :1] + 2 * weights[:, 1:].sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32))


def _blurring(gaussians: Tensor, side: int) -> Tensor:
    """float32 (N, S, S): each row a Gaussian around its pixel, mirrored at both edges as often as it takes."""
    radius = gaussians.shape[1] - 1
    pixel = torch.arange(side, device=gaussians.device)
    matrix = torch.zeros(len(gaussians), side, side, device=gaussians.device)
    images = 1 + radius // (2 * side)
    for number in range(-images, images + 1):
        for mirrored in (pixel, -1 - pixel):
            distance = (mirrored + 2 * side * number - pixel.view(-1, 1)).abs()
            weights = gaussians[:, distance.clamp_max(radius).flatten()].view(matrix.shape)
            matrix += torch.where(distance <= radius, weights, 0.0)
    return matrix


def _coarsening(coarse: Tensor, side: int) -> Tensor:
    """float32 (N, S, S): interpolated linearly to so many pixels, and back; as it was where that is 0."""
    count = torch.where(coarse > 0, coarse, side).view(-1, 1, 1)
    pixel = torch.arange(side, dtype=torch.float32, device=coarse.device)
    position = pixel.view(-1, 1) * (count - 1) / max(side - 1, 1)  # (N, S, 1), in coarse pixels
    below = position.floor()
    matrix = torch.zeros(len(coarse), side, side, device=coarse.device)
    for neighbour in (below, below + 1):
        share = 1 - (position - neighbour).abs()
        shown = neighbour * (side - 1) / (count - 1).clamp_min(1)  # in fine pixels
        matrix += share * (1 - (shown - pixel).abs()).clamp_min(0.0)
    return matrix / matrix.sum(dim=2, keepdim=True)
