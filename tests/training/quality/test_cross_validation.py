"""Who judges which examples, and figures of what was judged."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.command import StageError
from training.evaluation.figures import read_columns
from training.quality.cross_validation import cross_validation
from training.quality.examples import Example
from training.quality.judged import Judged, figures
from training.quality.roc import RocCurve


def example(volume_id: str, slice_index: int, *, good: bool, source: str = "cross_fit") -> Example:
    assert source in ("cross_fit", "corrupted")
    kind = "corrupted" if source == "corrupted" else "cross_fit"
    return Example(volume_id, slice_index, row=slice_index, good=good, iou=0.5, dice=None, source=kind)


@given(st.integers(2, 8), st.integers(2, 9), st.integers(0, 9))
def test_every_volume_is_judged_by_a_classifier_that_saw_none_of_it(volumes: int, count: int, seed: int) -> None:
    """For any numbers each example is judged once, and learnt from wherever its volume is not judged."""
    examples = [example(f"v{v}", z, good=(v + z) % 2 == 0) for v in range(volumes) for z in range(3)]
    validation = cross_validation(examples, count, seed=seed)
    assert validation.by == "volumes"
    assert len(validation.folds) == min(count, volumes)
    judged = [e for fold in validation.folds for e in fold.judged]
    assert sorted(judged, key=repr) == sorted(examples, key=repr)
    for fold in validation.folds:
        assert not {e.volume_id for e in fold.learnt} & {e.volume_id for e in fold.judged}
        assert {*fold.learnt, *fold.judged} == {*examples}


def test_damaged_labels_train_but_do_not_measure() -> None:
    """Damaged labels of the other volume are learnt from, and none is judged; where there are no others, they are."""
    examples = [example(v, z, good=z < 2, source=s) for v in "ab" for z, s in enumerate(["cross_fit", "corrupted"] * 2)]
    for fold in cross_validation(examples, 2, seed=0).folds:
        assert [e.source for e in fold.judged] == ["cross_fit", "cross_fit"]
        assert len(fold.learnt) == 4
    damaged = [e for e in examples if e.source == "corrupted"]
    assert [len(fold.judged) for fold in cross_validation(damaged, 2, seed=0).folds] == [2, 2]


def test_one_volume_is_cut_into_runs_of_slices() -> None:
    """Neighbours look alike: ten slices of one volume are two runs of five, and it says that it is by slices."""
    examples = [example("only", z, good=z % 2 == 0) for z in range(10)]
    validation = cross_validation(examples, 2, seed=0)
    assert validation.by == "slices"
    assert [[e.slice_index for e in fold.judged] for fold in validation.folds] == [[*range(5)], [*range(5, 10)]]
    assert validation.folds[0].learnt == validation.folds[1].judged


@pytest.mark.parametrize(
    ("slices", "count", "message"),
    [(2, 1, r"train_classifier\.folds is 1"), (1, 2, "examples of 1 slices"), (0, 2, "examples of 0 slices")],
)
def test_what_cannot_be_divided_is_refused(slices: int, count: int, message: str) -> None:
    """One fold, or one slice, leaves nothing to judge or nothing to learn from."""
    with pytest.raises(StageError, match=message):
        cross_validation([example("a", z, good=True) for z in range(slices)], count, seed=0)


def test_figures_that_the_held_out_part_does_not_give_are_none(tmp_path: Path) -> None:
    """All bad and none kept: no AUC, with a reason, no precision, no recall; and a curve that can still be read."""
    probabilities, good = np.array([0.1, 0.2]), np.array([False, False])
    report = figures(probabilities, good, threshold=0.5)
    assert (report["auc"], report["precision"], report["recall"]) == (None, None, None)
    assert report["auc_missing"] == "the held-out examples are not of both kinds: all 2 are bad"
    assert (report["kept_share"], report["base_rate"]) == (0.0, 0.0)
    RocCurve.of(probabilities, good).write(tmp_path / "roc.csv")
    table = read_columns(tmp_path / "roc.csv")
    assert table["kept_share"] == [0.0, 0.5, 1.0]
    assert all(math.isnan(value) for value in table["true_positive_rate"])


def test_the_error_of_what_is_expected_stands_beside_that_of_the_mean() -> None:
    """0.5 and 0.9 expected where 0.6 and 0.8 are true: 0.1 off, as the mean of 0.7 would be; others do not count."""
    unknown = example("a", 2, good=False)
    examples = (*(replace(unknown, dice=(dice, None)) for dice in (0.6, 0.8)), unknown)
    judged = Judged(examples, np.zeros(3), np.array([[0.5, 0.0], [0.9, 0.0], [0.0, 0.0]]))
    assert judged.dice_error() == pytest.approx({"dice_error": 0.1, "dice_error_of_the_mean": 0.1})
    assert Judged((unknown,), np.zeros(1), np.zeros((1, 0))).dice_error() == {}
