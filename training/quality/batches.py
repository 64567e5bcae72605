"""What the Quality Classifier learns from: resized examples, turned and mirrored with their masks, in other greys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from scans.intensity import Window
from scans.organs import OrganMap
from training.data.prepared import SliceReader
from training.learning.augmentation import Pose, change_grey_values, draw_linear
from training.learning.randomness import patch_generator
from training.quality.classifier_input import classifier_input
from training.quality.examples import Example, MaskReader
from training.recipe import Augmentation

Shown = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Slice (S, S) in 0..1 and masks (organs, S, S): the share of each pixel that the organ covers."""

CACHE_BYTES = 300_000_000
"""Resized examples that each process keeps."""


class QualityBatch(NamedTuple):
    """What `losses.quality_loss` takes."""

    slices: Tensor
    """float32 (N, 1, S, S)."""
    masks: Tensor
    """float32 (N, organs, S, S)."""
    good: Tensor
    """float32 (N,): 1 good, 0 bad."""
    dice: Tensor
    """float32 (N, organs): Dice of each organ in the slice; NaN where it has none, or nobody knows it."""


@dataclass(frozen=True)
class ResizedExamples:
    """Examples as the classifier is shown them, read and resized when they are first asked for."""

    examples: Sequence[Example]
    images: SliceReader
    masks: MaskReader
    windows: dict[str, Window]
    """Volume id -> window."""
    organs: int
    side: int
    _kept: dict[Example, Shown] = field(default_factory=dict)

    def of(self, examples: Sequence[Example]) -> ResizedExamples:
        """Others of the same kind, or some of these; what has been resized is shared."""
        return replace(self, examples=examples)

    def __getitem__(self, position: int) -> Shown:
        example = self.examples[position]
        if example in self._kept:
            return self._kept[example]
        image = self.images.image(example.volume_id, example.slice_index)
        normalised = torch.from_numpy(self.windows[example.volume_id].normalise(image)[None])
        mask = torch.from_numpy(self.masks.mask(example)[None])
        slices, masks = classifier_input(normalised, mask, organs=self.organs, side=self.side)
        shown = slices[0, 0].numpy(), masks[0].numpy()
        if (len(self._kept) + 1) * sum(array.nbytes for array in shown) <= CACHE_BYTES:
            self._kept[example] = shown
        return shown


class _Kind(NamedTuple):
    """Examples that are good, or those that are bad."""

    positions: list[int]
    shares: NDArray[np.float64] | None
    """Of what is drawn, that each has; None: all have the same."""


@dataclass(frozen=True)
class QualityBatches(Dataset[QualityBatch]):
    """The batch of each step, by its number: `batches[step]`. Any step, in any order, in any process, is the same.

    Good and bad are drawn as often as each other, however many there are of each: so that a Teacher that is mostly
    right, or mostly wrong, does not make the classifier say always the same. Its probabilities are those for even odds.
    Among the good, and among the bad, one that people judged is drawn `reviewed_weight` times as often as another: few
    of them are not drowned by what is made in their place, nor can a single one decide.
    """

    resized: ResizedExamples
    organ_map: OrganMap
    augmentation: Augmentation
    batch_size: int
    reviewed_weight: float
    stage: str
    """Name of the training: another one with the same seed draws other examples."""
    seed: int

    def __getitem__(self, step: int) -> QualityBatch:
        shown, good, dice = [], [], []
        kinds = self._kinds()
        for number in range(self.batch_size):
            rng = patch_generator(self.stage, self.seed, step=step, patch=number)
            kind = kinds[int(rng.integers(len(kinds)))]
            position = int(rng.choice(kind.positions, p=kind.shares))
            example = self.resized.examples[position]
            *pair, mirrored = augmented(self.resized[position], self.augmentation, organs=self.organ_map, rng=rng)
            shown.append(pair)
            good.append(float(example.good))
            dice.append(_dice(example, organs=len(self.organ_map))[mirrored])
        slices, masks = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*shown, strict=True))
        return QualityBatch(slices.unsqueeze(1), masks, torch.tensor(good), torch.from_numpy(np.stack(dice)))

    def _kinds(self) -> list[_Kind]:
        """The good and the bad examples; one kind alone where there are no others."""
        kinds = (self._kind(good=good) for good in (True, False))
        return [kind for kind in kinds if kind.positions]

    def _kind(self, *, good: bool) -> _Kind:
        examples = self.resized.examples
        positions = [position for position, example in enumerate(examples) if example.good is good]
        reviewed = np.array([examples[position].source == "review" for position in positions], dtype=np.bool_)
        if reviewed.all() or not reviewed.any():
            return _Kind(positions, None)
        weights = np.where(reviewed, self.reviewed_weight, 1.0)
        return _Kind(positions, weights / weights.sum())


def _dice(example: Example, *, organs: int) -> NDArray[np.float32]:
    """float32 (organs,), NaN where an organ has none."""
    dice = (None,) * organs if example.dice is None else example.dice
    return np.array([np.nan if value is None else value for value in dice], dtype=np.float32)


def augmented(
    shown: Shown, augmentation: Augmentation, *, organs: OrganMap, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """A slice and its masks, turned together, left and right organs trading places in a mirror image; other greys.

    Beside them which of the organs each mask was of, (organs,), from 0.
    """
    image, masks = shown
    pose = Pose(image.shape[0], (0, 0), draw_linear(augmentation, rng))
    turned = np.stack([pose.image(mask, fill=0.0) for mask in masks])
    order = organs.mirrored[1:].astype(np.intp) - 1 if pose.reflected else np.arange(len(masks))
    return change_grey_values(pose.image(image, fill=0.0), None, augmentation, rng), turned[order], order
