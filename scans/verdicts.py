"""Verdicts: what the Quality Classifier says of slices, in training as in a server."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Verdicts(NamedTuple):
    """What the Quality Classifier says of slices and their segmentation."""

    good: NDArray[np.float32]
    """(N,): the probability that each is good."""
    dice: NDArray[np.float32] | None
    """(N, organs): the Dice that it expects of each organ in each slice; None where it was not taught to say."""
