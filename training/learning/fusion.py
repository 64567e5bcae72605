"""Fusion: one class for each voxel, of what networks say who look along different axes.

Networks that see a voxel in other planes err in other places (Zhou et al. 2019, Semi-Supervised 3D Abdominal
Multi-Organ Segmentation via Deep Multi-Planar Co-Training). An opinion is a class and its probability, no more: the
probabilities of all classes of a scan of 3 Gvoxel would fill a hundred gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Opinion(NamedTuple):
    """What a network says of voxels; both arrays have their shape."""

    classes: NDArray[np.uint8]
    """The most probable class."""
    certainty: NDArray[np.float32]
    """Its probability, 0..1."""


def fused(opinions: Sequence[Opinion]) -> Opinion:
    """The class with the greatest sum of certainties, and that sum over the number of opinions.

    Where two classes have as much, that of the opinion that comes first wins. Raises ValueError without opinions.
    """
    if not opinions:
        raise ValueError("there are no opinions to fuse; at least one is needed")
    classes, most = opinions[0].classes.copy(), np.full(opinions[0].classes.shape, -1, dtype=np.float32)
    for proposed, _ in opinions:
        total = np.zeros_like(most)
        for said, certainty in opinions:
            total += np.where(said == proposed, certainty, np.float32(0))
        better = total > most
        classes[better], most[better] = proposed[better], total[better]
    return Opinion(classes, most / np.float32(len(opinions)))
