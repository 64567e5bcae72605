"""What a model has seen: the grey values of its volumes, and what it answers to those that it was not taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from scans.drift import Answer, Seen, SeenVolume, grey_quantiles
from scans.geometry import Box
from scans.intensity import sample
from scans.judgement import Judgement
from scans.statistics import OrganStatistics
from training.onnx_session import OnnxModel
from training.volumes import Catalogue, SliceReader, VolumeRecord

MOST_VOLUMES = 64
"""Volumes that a manifest describes; an even choice of them where there are more."""
MOST_SLICES = 128
"""Slices of a volume that are segmented; an even choice of them where there are more."""
_BATCH_SLICES = 8

Item = TypeVar("Item")


def seen_volumes(catalogue: Catalogue, reader: SliceReader, segmenter: OnnxModel) -> Seen:
    """Of the volumes of training, validation and without labels.

    The model is asked for its answer to the latter two alone: what it learnt by heart, it answers too well.
    """
    asked = _even((*catalogue.split("validation"), *catalogue.split("unlabelled")), MOST_VOLUMES)
    learnt = _even(catalogue.split("train"), MOST_VOLUMES - len(asked)) if len(asked) < MOST_VOLUMES else ()
    organs = len(catalogue.organs)
    return Seen(
        (
            *(_seen(record, reader, _answer(record, reader, segmenter, organs=organs)) for record in asked),
            *(_seen(record, reader, None) for record in learnt),
        )
    )


def _seen(record: VolumeRecord, reader: SliceReader, answer: Answer | None) -> SeenVolume:
    return SeenVolume(record.window, grey_quantiles(record.window, sample(reader.volume(record))), answer)


def _answer(record: VolumeRecord, reader: SliceReader, segmenter: OnnxModel, *, organs: int) -> Answer:
    """From every n-th slice, each of which stands for n."""
    depth, height, width = record.shape
    chosen = range(0, depth, -(-depth // MOST_SLICES))
    statistics, judgement = OrganStatistics.empty(organs + 1), Judgement.empty(organs)
    for first in range(0, len(chosen), _BATCH_SLICES):
        indices = chosen[first : first + _BATCH_SLICES]
        slices = np.stack([reader.image(record.id, index) for index in indices])
        segmentation, confidence = segmenter.segment_with_confidence(slices, record.window)
        box = Box((first, 0, 0), (first + len(indices), height, width))
        statistics += OrganStatistics.of(segmentation, box=box, classes=organs + 1)
        judgement += Judgement.of_confidence(segmentation, confidence, organs=organs)
    spacing = record.spacing
    return Answer.of(statistics, replace(spacing, z=spacing.z * chosen.step), judgement.confidence)


def _even(items: Sequence[Item], most: int) -> tuple[Item, ...]:
    """At most so many of them, from the first to the last."""
    positions = np.linspace(0, len(items) - 1, num=min(most, len(items))).round().astype(int)
    return tuple(items[position] for position in positions)
