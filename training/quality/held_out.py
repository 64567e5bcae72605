"""Which examples measure the Quality Classifier and never train it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.command import StageError
from training.quality.examples import Example


@dataclass(frozen=True)
class HeldOutSplit:
    """Examples that train the classifier, and those that measure it."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    by: Literal["volumes", "slices"]
    """volumes: no volume is on both sides. slices: there is one volume alone, whose uppermost slices are held out."""


def hold_out(examples: Sequence[Example], share: float, *, seed: int) -> HeldOutSplit:
    """Holds out about `share` of the volumes, at least one and not all; of a single volume, that share of its height.

    Masks that were damaged on purpose are not held out where there are others: they are easier, and the figures shall
    be those for masks that a network makes. Volumes are drawn by `seed`; among the draws that are turns of the same
    order, the first that has good and bad ones on both sides is taken, where there is one. Raises ValueError unless
    0 < share < 1 and there are two examples.
    """
    if not 0 < share < 1:
        raise ValueError(f"train_classifier.held_out_share is {share}; it must be more than 0 and less than 1")
    if len(examples) < 2:
        raise StageError(f"there are {len(examples)} examples of good and bad slices; at least 2 are needed")
    volumes = sorted({example.volume_id for example in examples})
    if len(volumes) == 1:
        return _by_slices(examples, share)
    order = [volumes[i] for i in np.random.default_rng(seed).permutation(len(volumes))]
    count = min(max(round(share * len(order)), 1), len(order) - 1)
    splits = [_by_volumes(examples, {*(order + order)[turn : turn + count]}) for turn in range(len(order))]
    return next((split for split in splits if _both_kinds(split.train) and _both_kinds(split.held_out)), splits[0])


def _by_volumes(examples: Sequence[Example], held_out: set[str]) -> HeldOutSplit:
    return HeldOutSplit(
        train=tuple(example for example in examples if example.volume_id not in held_out),
        held_out=_of_networks([example for example in examples if example.volume_id in held_out]),
        by="volumes",
    )


def _by_slices(examples: Sequence[Example], share: float) -> HeldOutSplit:
    """Neighbouring slices look alike, so that what is held out is one run of them, not slices here and there."""
    upwards = sorted(examples, key=lambda example: (example.slice_index, example.row))
    cut = min(max(round((1 - share) * len(upwards)), 1), len(upwards) - 1)
    first_held_out = upwards[cut].slice_index
    if first_held_out == upwards[0].slice_index:
        return HeldOutSplit(tuple(upwards[:cut]), _of_networks(upwards[cut:]), "slices")
    return HeldOutSplit(
        train=tuple(example for example in upwards if example.slice_index < first_held_out),
        held_out=_of_networks([example for example in upwards if example.slice_index >= first_held_out]),
        by="slices",
    )


def _of_networks(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Those that were not damaged on purpose; all where there are no others."""
    return tuple(example for example in examples if example.source != "corrupted") or tuple(examples)


def _both_kinds(examples: Sequence[Example]) -> bool:
    return len({example.good for example in examples}) == 2
