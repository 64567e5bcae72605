"""The calibrated window: measured on the grey values inside the labelled organs of the volumes to learn from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.intensity import SAMPLE_VOXELS, IntensityRule, Window
from scans.organs import BACKGROUND, NOT_LABELLED
from training.data.prepared import SliceReader

MARGIN = 0.25
"""A calibrated window is the range between the percentiles of the labelled organs' grey values, and on each side this
share of it more: what surrounds an organ lies outside the organ's range and must keep its contrast to it."""

ORGAN_SLICES = 128
"""Slices of a volume that the calibrated window is measured on, at most."""


def organ_window(volume_ids: Iterable[str], *, rule: IntensityRule, reader: SliceReader) -> Window:
    """The calibrated window: percentiles over the voxels inside labelled organs of the training volumes, and a margin.

    Validation, reserve and unlabelled volumes have no say. An even grid of voxels of each volume is looked at.
    """
    inside = [_organ_sample(volume_id, reader) for volume_id in volume_ids]
    window = rule.window_of(np.concatenate(inside))
    margin = MARGIN * (window.upper - window.lower)
    return Window(float(np.float32(window.lower - margin)), float(np.float32(window.upper + margin)))


def _organ_sample(volume_id: str, reader: SliceReader) -> NDArray[Any]:
    """Grey values inside the organs of one volume, 1-D: of some slices, evenly spread, and at most SAMPLE_VOXELS."""
    voxels = reader.slice_voxels(volume_id)[:, 1:].sum(axis=1)
    occupied = np.flatnonzero(voxels)
    chosen = occupied[:: -(-len(occupied) // ORGAN_SLICES)]
    thin = -(-int(voxels[chosen].sum()) // SAMPLE_VOXELS)
    inside = []
    for z in map(int, chosen):
        labels = reader.labels(volume_id, z)
        inside.append(reader.image(volume_id, z)[(labels != BACKGROUND) & (labels != NOT_LABELLED)][::thin])
    return np.concatenate(inside)
