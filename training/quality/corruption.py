"""Labels damaged on purpose, the way predictions fail: what the Quality Classifier should learn to refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scans.organs import BACKGROUND

Damage = Callable[[NDArray[np.uint8], int, int, np.random.Generator], NDArray[np.uint8]]
"""Labels (Y, X), the organ to damage, the number of classes, randomness -> damaged labels (Y, X)."""

_MOST_DAMAGES = 4


def corrupted(labels: NDArray[np.uint8], *, classes: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A damaged copy of uint8 (Y, X) labels: from one to four damages, rather few, each to an organ that is there.

    How much is damaged varies, from a few pixels of an edge to every organ. Raises ValueError where the slice holds no
    organ, since nothing could be damaged.
    """
    if not labels.any():
        raise ValueError("the slice holds no organ; only slices that hold one can be damaged")
    damaged = labels.copy()
    for _ in range(1 + int(_MOST_DAMAGES * rng.random() ** 2)):
        organs = np.unique(damaged[damaged != BACKGROUND])
        if not organs.size:
            break
        damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
        damaged = damage(damaged, int(rng.choice(organs)), classes, rng)
    return damaged


def drop(labels: NDArray[np.uint8], organ: int, _classes: int, _rng: np.random.Generator) -> NDArray[np.uint8]:
    """The organ is missed."""
    return np.where(labels == organ, np.uint8(BACKGROUND), labels)


def swap(labels: NDArray[np.uint8], organ: int, classes: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The organ is taken for another; where that one is in the slice too, they trade places."""
    others = [index for index in range(1, classes) if index != organ]
    if not others:
        return labels
    lookup = np.arange(classes, dtype=np.uint8)
    other = int(rng.choice(others))
    lookup[organ], lookup[other] = other, organ
    traded: NDArray[np.uint8] = lookup[labels]
    return traded


def shift(labels: NDArray[np.uint8], organ: int, _classes: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The organ is displaced by up to its own diameter, at least one pixel, and covers what is there."""
    mask = labels == organ
    reach = max(1, round(2 * np.sqrt(mask.sum() / np.pi)))
    angle, distance = rng.uniform(0, 2 * np.pi), 1 + reach * rng.random() ** 2
    offset = np.rint([distance * np.sin(angle), distance * np.cos(angle)]).astype(int)
    moved = np.zeros_like(mask)
    rows, columns = (position + step for position, step in zip(np.nonzero(mask), offset, strict=True))
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    moved[rows[inside], columns[inside]] = True
    return np.where(moved, np.uint8(organ), np.where(mask, np.uint8(BACKGROUND), labels))


def resize(labels: NDArray[np.uint8], organ: int, _classes: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The organ is eroded, or dilated over what is around it, by up to half its radius, at least one pixel."""
    mask = labels == organ
    reach = max(1, round(0.5 * np.sqrt(mask.sum() / np.pi)))
    pixels = int(rng.integers(1, reach + 1))
    if rng.random() < 0.5:
        return np.where(mask & ~ndimage.binary_erosion(mask, iterations=pixels), np.uint8(BACKGROUND), labels)
    return np.where(ndimage.binary_dilation(mask, iterations=pixels), np.uint8(organ), labels)


def scatter(labels: NDArray[np.uint8], organ: int, classes: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blobs of some class, background included, break the organ and what is around it."""
    mask = labels == organ
    width = max(1.0, 0.25 * float(np.sqrt(mask.sum() / np.pi)))
    noise = ndimage.gaussian_filter(rng.standard_normal(labels.shape), width)
    around = ndimage.binary_dilation(mask, iterations=max(1, round(2 * width)))
    blobs = around & (noise > np.quantile(noise, rng.uniform(0.6, 0.95)))
    return np.where(blobs, np.uint8(rng.integers(classes)), labels)


DAMAGES: tuple[Damage, ...] = (drop, swap, shift, resize, scatter)
