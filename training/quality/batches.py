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
from training.learning.augmentation import draw_grey_change, draw_linear
from training.learning.grey_values import GreyChanges, change_grey_values
from training.learning.posing import Poses
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


class ExampleBatch(NamedTuple):
    """Examples as they are, and how they are to be shown."""

    examples: Tensor
    """float32 (N, 1 + organs, S, S): the slice, and its masks."""
    good: Tensor
    """float32 (N,)."""
    dice: Tensor
    """float32 (N, organs)."""
    poses: Poses
    changes: GreyChanges


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
class QualityBatches(Dataset[ExampleBatch]):
    """The batch of each step, by its number: `shown(batches[step])`. Any step, in any order, in any process, is the
    same.

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

    def __getitem__(self, step: int) -> ExampleBatch:
        generators = [patch_generator(self.stage, self.seed, step=step, patch=n) for n in range(self.batch_size)]
        kinds, side = self._kinds(), self.resized.side
        drawn = [kinds[int(rng.integers(len(kinds)))] for rng in generators]
        positions = [
            int(rng.choice(kind.positions, p=kind.shares)) for rng, kind in zip(generators, drawn, strict=True)
        ]
        shown = [
            np.concatenate([slice_[np.newaxis], masks]) for slice_, masks in map(self.resized.__getitem__, positions)
        ]
        examples = [self.resized.examples[position] for position in positions]
        linear = np.stack([draw_linear(self.augmentation, rng) for rng in generators]).astype(np.float32)
        return ExampleBatch(
            examples=torch.from_numpy(np.stack(shown)),
            good=torch.tensor([float(example.good) for example in examples]),
            dice=torch.from_numpy(np.stack([_dice(example, organs=len(self.organ_map)) for example in examples])),
            poses=Poses(
                linear=torch.from_numpy(linear),
                centre=torch.full((self.batch_size, 2), (side - 1) / 2),
                shape=torch.full((self.batch_size, 2), float(side)),
            ),
            changes=GreyChanges.of(
                [draw_grey_change(self.augmentation, rng, side=side) for rng in generators], self.augmentation
            ),
        )

    def shown(self, raw: ExampleBatch) -> QualityBatch:
        """Slices and masks of a batch, turned together, left and right organs and their Dice trading places in a mirror
        image, the slices in other greys; made on the device that the batch is on."""
        places = raw.poses.places(self.resized.side)
        turned = torch.where(places.inside.unsqueeze(1), places.grey_values(raw.examples), 0.0)
        slices, masks = turned[:, :1], turned[:, 1:]
        order = torch.from_numpy(self.organ_map.mirrored[1:].astype(np.int64) - 1).to(masks.device)
        reflected = raw.poses.reflected
        return QualityBatch(
            slices=change_grey_values(slices, None, raw.changes),
            masks=torch.where(reflected.view(-1, 1, 1, 1), masks[:, order], masks),
            good=raw.good,
            dice=torch.where(reflected.view(-1, 1), raw.dice[:, order], raw.dice),
        )

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
