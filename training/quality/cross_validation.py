"""Which examples measure the Quality Classifier: each in turn, by volumes that it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.command import StageError
from training.quality.examples import Example


@dataclass(frozen=True)
class CheckFold:
    """Examples that a classifier learns from, and those that it then judges."""

    learnt: tuple[Example, ...]
    judged: tuple[Example, ...]


@dataclass(frozen=True)
class CrossValidation:
    """Every example that a network made is judged once, by a classifier of the others."""

    folds: tuple[CheckFold, ...]
    by: Literal["volumes", "slices"]
    """volumes: no volume is on both sides. slices: there is one volume alone, which is cut into runs of slices."""


def cross_validation(examples: Sequence[Example], count: int, *, seed: int) -> CrossValidation:
    """Divides the volumes among `count` folds, at most as many as there are; of a single volume, its height.

    Volumes are drawn by `seed`. Masks that were damaged on purpose are not judged where there are others: they are
    easier, and the figures shall be those for masks that a network makes. Raises StageError unless there are two folds
    and two slices.
    """
    if count < 2:
        raise StageError(f"train_classifier.folds is {count}; it must be 2 or more")
    volumes = sorted({example.volume_id for example in examples})
    if len(volumes) > 1:
        order = [volumes[i] for i in np.random.default_rng(seed).permutation(len(volumes))]
        parts = [set(order[start::count]) for start in range(min(count, len(order)))]
        part_of = {volume_id: number for number, part in enumerate(parts) for volume_id in part}
        return _folds(examples, [part_of[example.volume_id] for example in examples], by="volumes")
    slices = sorted({example.slice_index for example in examples})
    if len(slices) < 2:
        raise StageError(f"there are examples of {len(slices)} slices, good and bad; at least 2 are needed")
    # neighbouring slices look alike: runs of them, not slices here and there
    runs = np.array_split(slices, min(count, len(slices)))
    run_of = {int(index): number for number, run in enumerate(runs) for index in run}
    return _folds(examples, [run_of[example.slice_index] for example in examples], by="slices")


def _folds(examples: Sequence[Example], numbers: Sequence[int], *, by: Literal["volumes", "slices"]) -> CrossValidation:
    """Of the number of the fold that judges each example; folds that have nothing to judge are left out."""
    by_networks = [example.source != "corrupted" for example in examples]
    measuring = by_networks if any(by_networks) else [True] * len(examples)
    made = (
        CheckFold(
            learnt=tuple(example for example, number in zip(examples, numbers, strict=True) if number != fold),
            judged=tuple(
                example
                for example, number, measures in zip(examples, numbers, measuring, strict=True)
                if number == fold and measures
            ),
        )
        for fold in sorted(set(numbers))
    )
    return CrossValidation(tuple(fold for fold in made if fold.judged), by)
