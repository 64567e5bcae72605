"""The truth of synthetic fish that have no labels: kept beside them to measure with; nothing learns from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from scans.volume import ArrayVoxels, Voxels
from training.data.prepared import create_array

_TRUTH = "truth"
"""An array of its own in the volume's group: whoever asks for `labels` does not find it."""


def write_truth(folder: Path, volume_id: str, labels: NDArray[np.uint8]) -> None:
    """Adds the true class indices, uint8 (Z, Y, X), to a volume of the prepared data set that has no labels."""
    z, y, x = labels.shape
    group = zarr.open_group(folder / f"{volume_id}.zarr", mode="r+")
    create_array(group, _TRUTH, shape=(z, y, x), dtype=labels.dtype)[:] = labels


def read_truth(folder: Path, volume_id: str) -> Voxels | None:
    """The lazy uint8 (Z, Y, X) class indices of a volume without labels; None where nobody knows them."""
    group = zarr.open_group(folder / f"{volume_id}.zarr", mode="r")
    return ArrayVoxels(group[_TRUTH]) if _TRUTH in group else None
