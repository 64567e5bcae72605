"""Masks as a Teacher makes them for volumes that it did not see, scored against those volumes' labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.measures.metrics import OrganCounts
from scans.organs import BACKGROUND, NOT_LABELLED
from scans.tiling import segment
from training.command import StageError
from training.data.prepared import SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import PseudoLabelReader, PseudoLabelWriter
from training.learning.networks import SegmentationNetwork
from training.learning.prediction import predictor
from training.quality.corruption import corrupted
from training.quality.examples import Candidate, Source

BATCH_SLICES = 16


@dataclass(frozen=True)
class Fold:
    """Labelled volumes that a Teacher learns from, and those that it then predicts."""

    learnt: tuple[VolumeRecord, ...]
    predicted: tuple[VolumeRecord, ...]


def folds_of(volumes: tuple[VolumeRecord, ...], count: int, *, seed: int) -> tuple[Fold, ...]:
    """Every volume predicted once, by a Teacher of the others; at most as many folds as volumes.

    Raises StageError if there are fewer than two folds or two volumes.
    """
    if count < 2 or len(volumes) < 2:
        raise StageError(f"label_quality.folds is {count}, with {len(volumes)} volumes; both must be 2 or more")
    order = np.random.default_rng(seed).permutation(len(volumes))
    parts = [set(order[start :: min(count, len(volumes))].tolist()) for start in range(min(count, len(volumes)))]
    return tuple(
        Fold(
            learnt=tuple(volume for i, volume in enumerate(volumes) if i not in part),
            predicted=tuple(volume for i, volume in enumerate(volumes) if i in part),
        )
        for part in parts
    )


@dataclass(frozen=True)
class MaskJudge:
    """Makes masks for slices of labelled volumes, and says by their labels whether they are good."""

    reader: SliceReader
    classes: int
    """Organs and background."""
    good_iou: float
    """A mask with at least this IoU, its organs pooled, is good."""

    def predicted(self, network: SegmentationNetwork, record: VolumeRecord, *, folder: Path) -> Iterator[Candidate]:
        """Segments a volume into `folder`, and gives every slice that holds an organ in prediction or truth."""
        forward = predictor(network, window=record.window)
        volume, truth = self.reader.volume(record), self.reader.label_volume(record)
        store, slab_slices = PseudoLabelReader(folder), shard_slices(record.shape, np.dtype(np.uint8))
        with PseudoLabelWriter(folder, record.id, record.shape) as writer:
            for box, labels in segment(volume, forward, slab_slices=slab_slices, batch_size=BATCH_SLICES):
                writer.write(box, labels)
                true = truth.slab(box.start[0], box.stop[0])
                for index, mask, true_mask in zip(range(box.start[0], box.stop[0]), labels, true, strict=True):
                    read = partial(store.labels, record.id, index)
                    if scored := self._scored(record.id, index, (mask, true_mask), "cross_fit", read):
                        yield scored

    def damaged(self, volumes: tuple[VolumeRecord, ...], count: int, *, seed: int) -> Iterator[Candidate]:
        """`count` slices with damaged true labels, every volume as often; none where no slice holds an organ."""
        rng = np.random.default_rng(seed)
        holding = {volume.id: self._holding(volume.id) for volume in volumes if self._holding(volume.id).size}
        for number in range(count if holding else 0):
            volume_id = list(holding)[number % len(holding)]
            index = int(rng.choice(holding[volume_id]))
            read = partial(self._damaged, volume_id, index, (seed, number))
            masks = read(), self.reader.labels(volume_id, index)
            if scored := self._scored(volume_id, index, masks, "corrupted", read):
                yield scored

    def _scored(
        self,
        volume_id: str,
        slice_index: int,
        masks: tuple[NDArray[np.uint8], NDArray[np.uint8]],
        source: Source,
        read: Callable[[], NDArray[np.uint8]],
    ) -> Candidate | None:
        """A mask held against the truth, both (Y, X); None where neither holds an organ."""
        counts = OrganCounts.of(*masks, classes=self.classes)
        iou = counts.pooled_iou
        if iou is None:
            return None
        return Candidate(volume_id, slice_index, iou >= self.good_iou, iou, counts.dice, source, read)

    def _holding(self, volume_id: str) -> NDArray[np.int64]:
        """The slices that hold an organ."""
        return np.flatnonzero(self.reader.slice_voxels(volume_id)[:, 1:].any(axis=1))

    def _damaged(self, volume_id: str, slice_index: int, seed: tuple[int, int]) -> NDArray[np.uint8]:
        labels = self.reader.labels(volume_id, slice_index)
        labels = np.where(labels == NOT_LABELLED, np.uint8(BACKGROUND), labels)
        return corrupted(labels, classes=self.classes, rng=np.random.default_rng(seed))
