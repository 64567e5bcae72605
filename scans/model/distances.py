"""Distances of two volumes: of their grey values, and of what a model answers to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window

Point = tuple[float, float, float]

_MOST_DOUBLINGS = 3.0
"""What an organ that is missing, or eight times as large, counts."""


def window_distance(a: Window, b: Window) -> float:
    """The farther of both ends, in widths of the narrower window."""
    width = min(a.upper - a.lower, b.upper - b.lower)
    return max(abs(a.lower - b.lower), abs(a.upper - b.upper)) / width


def quantile_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Mean distance of the quantiles: how far the grey values of one volume have to be moved to become the other's."""
    return float(np.mean(np.abs(np.subtract(a, b))))


def size_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Mean over organs of how often one has to be doubled to become the other; 3 for one that is missing in one."""
    return float(np.mean([_doublings(x, y) for x, y in zip(a, b, strict=True)])) if a else 0.0


def _doublings(a: float, b: float) -> float:
    if a == b:
        return 0.0
    return min(abs(float(np.log2(a / b))), _MOST_DOUBLINGS) if a > 0 and b > 0 else _MOST_DOUBLINGS


def place_distance(a: Sequence[Point | None], b: Sequence[Point | None]) -> float:
    """Mean distance of the organs that both have when they are laid over each other, in units of their spread.

    Both are moved to the same middle and scaled to the same spread, and not turned: a turned animal is another one to
    a model that sees slices. 0 where fewer than three organs are in both.
    """
    both = [(p, q) for p, q in zip(a, b, strict=True) if p is not None and q is not None]
    if len(both) < 3:
        return 0.0
    first, second = (_constellation(np.array(points)) for points in zip(*both, strict=True))
    return float(np.mean(np.linalg.norm(first - second, axis=1)))


def _constellation(points: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = points - points.mean(axis=0)
    spread = float(np.sqrt(np.mean(np.sum(centred**2, axis=1))))
    scaled: NDArray[np.float64] = centred / spread if spread else centred
    return scaled
