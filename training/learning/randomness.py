"""The random numbers that patches are drawn with: those of a stage, a seed, a step and a patch, and nothing else."""

from __future__ import annotations

import zlib

import numpy as np


def patch_generator(stage: str, seed: int, *, step: int, patch: int) -> np.random.Generator:
    """What decides patch number `patch` (from 0) of step `step` (from 0).

    The name of the stage counts, as its CRC-32: else a network that is trained on in a second stage with the same seed
    would see the very patches of the first again. The seed is at least 0.
    """
    return np.random.default_rng([seed, zlib.crc32(stage.encode()), step, patch])
