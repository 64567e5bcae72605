"""The normalisation that training and serving both apply: a window of grey values, mapped to 0..1.

The window is either fixed for the model (calibrated grey values, such as Hounsfield units), or measured on each volume
(grey values that differ from scan to scan, as at a beamline). The mapping itself stands inside the exported model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.volume import Volume

SAMPLE_VOXELS = 1_000_000
"""Percentiles are taken over about this many voxels, evenly spread; the rule is part of what a model was trained on."""


@dataclass(frozen=True)
class Window:
    """Grey values that become 0 and 1; what lies outside is clipped."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.lower) and np.isfinite(self.upper) and self.lower < self.upper):
            raise ValueError(f"window {self.lower}..{self.upper}: both ends must be finite and lower < upper")

    def normalise(self, slices: NDArray[Any]) -> NDArray[np.float32]:
        """Grey values of any shape -> float32 in 0..1. The ONNX model does the same with the same operations."""
        values = np.clip(slices.astype(np.float32), np.float32(self.lower), np.float32(self.upper))
        return (values - np.float32(self.lower)) / (np.float32(self.upper) - np.float32(self.lower))


@dataclass(frozen=True)
class IntensityRule:
    """How the window of a volume is found. Raises ValueError unless 0 <= lower < upper <= 100 percent."""

    lower_percentile: float
    """Share in percent of a volume's grey values that lies below its window."""
    upper_percentile: float
    """Share in percent of a volume's grey values that lies below the upper end of its window."""
    fixed: Window | None = None
    """The window of every volume, where grey values are calibrated; None: each volume has its own."""

    def __post_init__(self) -> None:
        if not 0 <= self.lower_percentile < self.upper_percentile <= 100:
            raise ValueError(
                f"percentiles {self.lower_percentile} and {self.upper_percentile}; expected 0 <= lower < upper <= 100"
            )

    def window(self, volume: Volume) -> Window:
        """The window for this volume; reads an even sample of its voxels unless the window is fixed."""
        return self.fixed if self.fixed else self.window_of(sample(volume))

    def window_of(self, values: NDArray[Any]) -> Window:
        """The window of a sample of grey values (any shape); both ends are float32 values, as the model computes.

        Percentiles lie between grey values where they must (linearly). A sample of one grey value gets a window of
        which it is the lower end. Raises ValueError if there is no value or if the window is beyond float32.
        """
        if not values.size:
            raise ValueError("no grey values to take percentiles of; a volume holds at least one voxel")
        percentiles = np.percentile(values.astype(np.float64), [self.lower_percentile, self.upper_percentile])
        with np.errstate(over="ignore"):  # Window refuses what becomes infinite
            lower, upper = percentiles.astype(np.float32)
        if not lower < upper:
            upper = max(lower + np.float32(1), np.nextafter(lower, np.float32(np.inf)))
        return Window(float(lower), float(upper))


def sample(volume: Volume, voxels: int = SAMPLE_VOXELS) -> NDArray[Any]:
    """At most `voxels` grey values on an even grid over the volume, 1-D: every `stride`-th along each axis, from 0.

    Slices are read upwards, each once and alone, so that a compressed file is unpacked once and memory is that of a
    slice. The same volume gives the same sample, whichever file format or slab it is read from.
    """
    step = stride(volume.shape, voxels)
    rows = [volume.slab(z, z + 1)[0, ::step, ::step].ravel() for z in range(0, volume.shape[0], step)]
    return np.concatenate(rows)


def stride(shape: tuple[int, int, int], voxels: int = SAMPLE_VOXELS) -> int:
    """The grid step, the same on each axis, that takes about `voxels` of an array of that shape."""
    step = 1
    while np.prod([-(-n // step) for n in shape]) > voxels:
        step += 1
    return step
