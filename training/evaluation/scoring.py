"""Segmentations of whole volumes, scored against their labels without either being in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scans.geometry import Box
from scans.measures.metrics import OrganCounts, VolumeScores, surface_distances
from scans.measures.surface_distances import SurfaceDistances
from scans.organs import NOT_LABELLED, OrganMap
from scans.volume import Volume
from training.data.prepared import VolumeRecord

_EMPTY = Box((0, 0, 0), (0, 0, 0))
SLAB_SLICES = 64


@dataclass(frozen=True)
class ScoredVolume:
    """One volume's scores, per organ name."""

    experiment: str
    scores: VolumeScores
    distances: Mapping[str, SurfaceDistances]


def score(
    record: VolumeRecord, *, prediction: Volume, truth: Volume, organs: OrganMap, tolerance_mm: float | None = None
) -> ScoredVolume:
    """Dice, IoU and surface distances of uint8 (Z, Y, X) class indices against others of the same shape.

    Voxels are counted slab by slab; for its distances each organ is read within the box that holds it in both. Where
    the truth is NOT_LABELLED nothing is counted; of a volume with such voxels no organ has a distance, since nobody
    knows where its surface is. `tolerance_mm` as in `surface_distances`. Raises ValueError if the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"{record.id}: the prediction has shape {prediction.shape}, the labels {truth.shape}")
    none = np.zeros(len(organs), dtype=np.int64)
    counts = OrganCounts(none, none, none)
    predicted, true = [_EMPTY] * len(organs), [_EMPTY] * len(organs)
    whole = True
    for (box, guess), (_, labels) in zip(prediction.slabs(SLAB_SLICES), truth.slabs(SLAB_SLICES), strict=True):
        counts += OrganCounts.of(guess, labels, classes=organs.classes)
        predicted = [a | b for a, b in zip(predicted, _boxes(guess, box, organs), strict=True)]
        true = [a | b for a, b in zip(true, _boxes(labels, box, organs), strict=True)]
        whole &= not (labels == NOT_LABELLED).any()
    return ScoredVolume(
        experiment=record.experiment,
        scores=VolumeScores.from_counts(record.id, counts, organs),
        distances={
            organ.name: _distances(
                organ.index, predicted[i], true[i], prediction=prediction, truth=truth, tolerance_mm=tolerance_mm
            )
            if whole
            else SurfaceDistances.absent()
            for i, organ in enumerate(organs.organs)
        },
    )


def _boxes(labels: NDArray[np.uint8], box: Box, organs: OrganMap) -> Sequence[Box]:
    """The box of each organ in a slab, in indices of the volume; empty where it is absent."""
    found = ndimage.find_objects(labels, max_label=len(organs))
    return [_EMPTY if slices is None else _box(slices).shifted(box.start) for slices in found]


def _box(slices: tuple[slice, ...]) -> Box:
    z, y, x = slices
    return Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def _distances(
    index: int, predicted: Box, true: Box, *, prediction: Volume, truth: Volume, tolerance_mm: float | None
) -> SurfaceDistances:
    if not predicted.voxels and not true.voxels:
        return SurfaceDistances.absent()
    if not predicted.voxels or not true.voxels:
        return SurfaceDistances.worst(truth.shape, truth.spacing)
    crop = predicted | true
    guessed, labelled = (_cropped(volume, crop) == index for volume in (prediction, truth))
    return surface_distances(guessed, labelled, truth.spacing, tolerance_mm=tolerance_mm)


def _cropped(volume: Volume, crop: Box) -> NDArray[np.uint8]:
    _, rows, columns = crop.slices
    pieces = [
        volume.slab(start, min(start + SLAB_SLICES, crop.stop[0]))[:, rows, columns]
        for start in range(crop.start[0], crop.stop[0], SLAB_SLICES)
    ]
    return np.concatenate(pieces)
