"""Recipe: what the stages that train share. It stands beside the sections of params.yaml once, or in a stage's own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from training.ranges import Batch, Count, Number, Range, Share, Side, Weight


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained, with Adam."""

    epochs: Number
    steps_per_epoch: Count
    """Optimiser steps in an epoch; 0: as many as there are slices, divided by the batch size. For Teacher, control and
    Student these are of all volumes that may teach them, used or not: see docs/method.md."""
    batch_size: Batch
    """Patches in a step, over all processes."""
    learning_rate: Annotated[float, Range(0, 1, open_below=True)]
    """Adam's; the peak where `one_cycle`."""
    one_cycle: bool
    """Warm up and anneal over the whole training (Smith 2018); false: constant, as in the paper."""
    averaging: Annotated[float, Range(0, 1, open_above=True)]
    """What is kept are weights averaged over the steps, those of a step with this decay (exponential moving average);
    0: the last ones, as in the paper."""


@dataclass(frozen=True)
class Sampling:
    """Which patches of which slices are learnt from."""

    crop: Side
    """Side of a patch in pixels."""
    organ_share: Share
    """Share of the patches that are centred on an organ, drawn evenly among organs; the rest fall anywhere."""
    fewest_pixels: Count
    """Pixels of the organ that a slice needs for a patch to be centred on it there; an organ that has them nowhere does
    without. 0: any."""
    cache_megabytes: Count
    """Decoded pieces of slices that are kept in memory, per process."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes to a patch and its labels; a 0 switches each off."""

    mirror_y: Share
    mirror_x: Share
    """Probability of a reflection along the axis; organs named left_X and right_X then trade places."""
    rotation_degrees: Annotated[float, Range(0, 180)]
    """Greatest rotation, either way."""
    scale: Annotated[float, Range(0, 1, open_above=True)]
    """Greatest change of size, as a share."""
    contrast: Share
    """Greatest change of contrast, as a share."""
    brightness: Share
    """Greatest shift of normalised grey values."""
    noise: Share
    """Greatest standard deviation of added noise, in normalised grey values."""
    class_contrast: Share
    """Greatest change of contrast and brightness of each class by itself, as a share (Su et al. 2023, SLAug), where
    people labelled: a pseudo-label that is wrong would become visible, and so be learnt."""
    gamma: Annotated[float, Range(0, 9)]
    """Greatest exponent of normalised grey values less 1; the least is its inverse."""
    blur: Annotated[float, Range(0, 100)]
    """Greatest standard deviation, in pixels, of a Gaussian blur, which every other patch has."""
    low_resolution: Annotated[float, Range(0, 15)]
    """Greatest factor less 1 by which a patch is made coarser, as every other one is."""


@dataclass(frozen=True)
class Training:
    """What every stage that trains has; keys beside the sections of params.yaml, or in a stage's own."""

    workers: Annotated[int, Range(0, 1024)]
    """Processes that prepare batches; 0: in the training process."""
    schedule: Schedule
    augmentation: Augmentation


@dataclass(frozen=True)
class Supervised(Training):
    """What a stage that trains a segmentation network has as well."""

    dice_weight: Weight
    """Weight of a Dice term beside the cross-entropy; 0 as in the paper."""
    sampling: Sampling

    @property
    def supervised(self) -> Supervised:
        """These values alone, of a section that has others as well."""
        return Supervised(**{field.name: getattr(self, field.name) for field in fields(Supervised)})
