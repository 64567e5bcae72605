"""The synthetic fish that the demo trains on: a medaka in its tube, as three beam times would have scanned it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Spacing, Triple
from training.phantom_anatomy import Label, build_anatomy, spacing_of
from training.phantom_imaging import BEAM_TIMES, image_of

ORGANS_FILE = Path("data/phantom/organs.yaml")
DEFAULT_SHAPE: Triple = (64, 96, 96)
BEAM_TIME_COUNT = len(BEAM_TIMES)
FIRST_FISH = {"train": 0, "validation": 10_000, "unlabelled": 20_000}
"""Number of the first fish of each split of the prepared data; from 30,000 on a fish is in none of them."""

__all__ = ["BEAM_TIME_COUNT", "FIRST_FISH", "Label", "Phantom", "make_phantom"]


@dataclass(frozen=True)
class Phantom:
    """A synthetic scan with its true labels. Axes: z from head to tail, y, x; slices are transverse sections."""

    image: NDArray[np.uint16]
    """(Z, Y, X) grey values."""
    labels: NDArray[np.uint8]
    """(Z, Y, X) class index, as in data/phantom/organs.yaml."""
    spacing: Spacing
    experiment: str
    """Name of the beam time."""


def make_phantom(*, seed: int, fish: int, beamtime: int, shape: Triple = DEFAULT_SHAPE) -> Phantom:
    """Fish number `fish` (from 0) of that seed, scanned at beam time 1, 2 or 3.

    The arguments alone decide every voxel. The animal depends on seed and fish: at another beam time it is the same
    one, scanned anew; at another shape it is the same one, sampled anew. Raises ValueError for a beam time or a fish
    that there cannot be.
    """
    if not 1 <= beamtime <= BEAM_TIME_COUNT:
        raise ValueError(f"beam time {beamtime}; there are 1 to {BEAM_TIME_COUNT}")
    if seed < 0 or fish < 0:
        raise ValueError(f"seed {seed} and fish {fish}: neither may be negative")
    beam = BEAM_TIMES[beamtime - 1]
    anatomy = build_anatomy(shape, np.random.default_rng([seed, fish]))
    image = image_of(anatomy.materials, beam, np.random.default_rng([seed, fish, beamtime]))
    return Phantom(image, anatomy.labels, spacing_of(shape), beam.experiment)
