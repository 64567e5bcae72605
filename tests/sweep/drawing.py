"""Voxels, spacings and directions, drawn at random."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray


def draw_voxels(dice: Random, code: str, *, least: int = 2) -> NDArray[Any]:
    """A volume of so many voxels along an axis or more, of any type that `code` names, over the type's whole range."""
    generator = np.random.default_rng(dice.randrange(2**32))
    shape = tuple(dice.randint(least, least + 9) for _ in range(3))
    dtype = np.dtype(code)
    if dtype.kind == "f":
        return (generator.standard_normal(shape) * 10 ** dice.randint(-2, 4)).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def draw_spacing(dice: Random) -> NDArray[np.float64]:
    """Along x, y, z, in mm."""
    steps = [round(10 ** dice.uniform(-2, 1), 4) for _ in range(3)]
    return np.array(steps if dice.random() < 0.7 else [steps[0]] * 3)


def draw_direction(dice: Random) -> NDArray[np.float64]:
    """Unit vectors of x, y, z as columns: none turned, axes swapped and mirrored, or turned by any angle."""
    kind = dice.choice(("plain", "swapped", "turned"))
    if kind == "plain":
        return np.eye(3)
    if kind == "swapped":
        order = dice.sample(range(3), 3)
        return np.eye(3)[order] * [dice.choice((-1, 1)) for _ in range(3)]
    axes, _ = np.linalg.qr(np.random.default_rng(dice.randrange(2**32)).standard_normal((3, 3)))
    turned: NDArray[np.float64] = axes
    return turned
