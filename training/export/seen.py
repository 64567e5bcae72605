"""What a model has seen: the grey values of its volumes, and what it answers to those that it was not taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Box
from scans.intensity import Window, sample
from scans.measures.statistics import OrganStatistics
from scans.model.drift import Answer, Seen, SeenVolume, grey_quantiles
from scans.model.judgement import Judgement, judged_pixels
from scans.verdicts import Verdicts
from training.data.prepared import Catalogue, SliceReader, VolumeRecord
from training.export.onnx_session import OnnxModel
from training.progress import track

MOST_VOLUMES = 64
"""Volumes that a manifest describes; an even choice of them where there are more."""
_BATCH_SLICES = 8

Item = TypeVar("Item")


@dataclass(frozen=True)
class ExportedModels:
    """The exported models, and from which probability on a slice counts as good."""

    segmenter: OnnxModel
    classifier: OnnxModel
    threshold: float

    def verdicts(self, grey: NDArray[Any], segmentation: NDArray[np.uint8], window: Window) -> Verdicts:
        """What the classifier says of slices (N, Y, X), of the pixels that a server shows it too."""
        rows, columns = judged_pixels(*grey.shape[1:])
        return self.classifier.verdicts(grey[:, rows, columns], segmentation[:, rows, columns], window)


def seen_volumes(catalogue: Catalogue, reader: SliceReader, models: ExportedModels, *, slices: int) -> Seen:
    """Of the volumes of training, validation and without labels.

    The models are asked about the latter two alone, about an even choice of at most `slices` of each volume: what the
    Student learnt by heart, it answers too well.
    """
    answered = _even((*catalogue.split("validation"), *catalogue.split("unlabelled")), MOST_VOLUMES)
    learnt = _even(catalogue.split("train"), MOST_VOLUMES - len(answered)) if len(answered) < MOST_VOLUMES else ()
    organs = len(catalogue.organs)
    return Seen(
        (
            *(
                _seen(record, reader, _answer(record, reader, models, slices=slices, organs=organs))
                for record in track(answered, description="What is seen", total=len(answered), unit="volume")
            ),
            *(_seen(record, reader, None) for record in learnt),
        )
    )


def _seen(record: VolumeRecord, reader: SliceReader, answer: Answer | None) -> SeenVolume:
    return SeenVolume(record.window, grey_quantiles(record.window, sample(reader.volume(record))), answer)


def _answer(record: VolumeRecord, reader: SliceReader, models: ExportedModels, *, slices: int, organs: int) -> Answer:
    """From every n-th slice, each of which stands for n."""
    depth, height, width = record.shape
    chosen = range(0, depth, -(-depth // slices))
    statistics, judgement = OrganStatistics.empty(organs + 1), Judgement.empty(organs)
    for first in range(0, len(chosen), _BATCH_SLICES):
        indices = chosen[first : first + _BATCH_SLICES]
        grey = np.stack([reader.image(record.id, index) for index in indices])
        segmentation, confidence = models.segmenter.segment_with_confidence(grey, record.window)
        verdicts = models.verdicts(grey, segmentation, record.window)
        box = Box((first, 0, 0), (first + len(indices), height, width))
        statistics += OrganStatistics.of(segmentation, box=box, classes=organs + 1)
        judgement += Judgement.of_quality(segmentation, verdicts, organs=organs)
        judgement += Judgement.of_confidence(segmentation, confidence, organs=organs)
    spacing = replace(record.spacing, z=record.spacing.z * chosen.step)
    return Answer.of(statistics, spacing, judgement.confidence, judgement.bad_share(models.threshold))


def _even(items: Sequence[Item], most: int) -> tuple[Item, ...]:
    """At most so many of them, from the first to the last."""
    positions = np.linspace(0, len(items) - 1, num=min(most, len(items))).round().astype(int)
    return tuple(items[position] for position in positions)
