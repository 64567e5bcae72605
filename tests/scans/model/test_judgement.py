"""Judgement: what is said of slices and organs, by hand; and that slabs add up to the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.model.judgement import Judgement, SampledSlice, sampled_slices, slice_voxels
from scans.verdicts import Verdicts

SEGMENTATION = np.array([[[1, 1], [0, 2]], [[0, 0], [0, 0]], [[0, 1], [0, 0]]], dtype=np.uint8)
"""Three slices: two voxels of organ 1 and one of 2; nothing; one voxel of organ 1."""
GOOD = Verdicts(np.array([0.9, 0.1, 0.3], np.float32), None)


def test_slices_without_organs_count_for_nothing() -> None:
    """Mean of 0.9 and 0.3, half of them below 0.5; the empty slice's 0.1 is kept, and in no sum."""
    judgement = Judgement.of_quality(SEGMENTATION, GOOD, organs=3)
    assert judgement.good == (0.9, 0.1, 0.3)
    assert judgement.organ_voxels == (3, 0, 1)
    assert judgement.slices_with_organs == 2
    assert judgement.mean_good == pytest.approx(0.6)
    assert judgement.bad_share(0.5) == 0.5
    assert judgement.bad_share(0.3) == 0.0, "at the threshold a slice is good"


def test_an_organ_is_judged_by_its_slices() -> None:
    """(2 x 0.9 + 1 x 0.3) / 3 = 0.7 for organ 1, 0.9 for organ 2, nothing for an organ that is not there."""
    first, second, third = Judgement.of_quality(SEGMENTATION, GOOD, organs=3).of_organs()
    assert (first.slices, first.good) == (2, pytest.approx(0.7))
    assert (second.slices, second.good) == (1, pytest.approx(0.9))
    assert (third.slices, third.good) == (0, None)


def test_dice_that_is_expected_of_an_organ() -> None:
    """(2 x 0.8 + 1 x 0.5) / 3 = 0.7 for organ 1, 0.6 for organ 2; none of one that is not there, nor where none is."""
    dice = np.array([[0.8, 0.6, 0.1], [0.2, 0.2, 0.2], [0.5, 0.9, 0.9]], dtype=np.float32)
    judgement = Judgement.of_quality(SEGMENTATION, Verdicts(GOOD.good, dice), organs=3)
    first, second, third = judgement.of_organs()
    assert (first.dice, second.dice, third.dice) == (pytest.approx(0.7), pytest.approx(0.6), None)
    assert [organ.dice for organ in Judgement.of_quality(SEGMENTATION, GOOD, organs=3).of_organs()] == [None] * 3
    confidence = Judgement.of_confidence(SEGMENTATION, np.ones(SEGMENTATION.shape, np.float32), organs=3)
    assert (judgement + confidence).dice_weighted == judgement.dice_weighted
    assert (judgement + Judgement.of_quality(SEGMENTATION, GOOD, organs=3)).dice_weighted is None


def test_confidence_is_that_of_organ_voxels() -> None:
    """Of one slice with three organ voxels of 0.5, 0.75 and 1, and a background: 0.75; nothing else changes."""
    confidence = np.array([[[0.5, 0.75], [0.125, 1.0]]], dtype=np.float32)
    judgement = Judgement.of_confidence(SEGMENTATION[:1], confidence, organs=3)
    assert (judgement.confidence, judgement.confidence_voxels) == (0.75, 3)
    assert judgement.of_organs() == []
    assert judgement.mean_good is None
    assert Judgement.empty(3).confidence is None is Judgement.empty(3).bad_share(0.5)


def test_the_organ_of_the_least_dice_is_noted_for_each_slice() -> None:
    """Of organs that are there: 2 in the first slice, though 0.1 is expected of 3; none in the second; 1 in the third.

    Of slices that were judged before anything was expected of organs, as before an update, none is known.
    """
    dice = np.array([[0.8, 0.6, 0.1], [0.2, 0.2, 0.2], [0.5, 0.9, 0.9]], dtype=np.float32)
    judgement = Judgement.of_quality(SEGMENTATION, Verdicts(GOOD.good, dice), organs=3)
    assert (judgement.least_organ, judgement.least_dice) == ((2, 0, 1), (0.6, 1.0, 0.5))
    before = Judgement.of_quality(SEGMENTATION, GOOD, organs=3)
    assert before.least_organ == before.least_dice == ()
    assert (before + judgement).least_organ == (0, 0, 0, 2, 0, 1)
    assert (judgement + before).least_dice == (0.6, 1.0, 0.5, 1.0, 1.0, 1.0)
    assert (judgement + Judgement.empty(3)).least_organ == (2, 0, 1) == (Judgement.empty(3) + judgement).least_organ


def test_the_confidence_of_each_sampled_slice_is_kept() -> None:
    """Slice 8 has a mean of 0.7 and organ 2, of 0.3, as its least sure one; slice 9 holds no organ, and is left out."""
    confidence = np.array([[[0.8, 1.0], [0.1, 0.3]], [[1, 1], [1, 1]], [[1, 0.5], [1, 1]]], dtype=np.float32)
    judgement = Judgement.of_confidence(SEGMENTATION, confidence, organs=3, index=8)
    assert judgement.sampled == (SampledSlice(8, pytest.approx(0.7), 2), SampledSlice(10, 0.5, 1))
    assert Judgement.from_dict(json.loads(json.dumps(judgement.to_dict()))) == judgement
    assert Judgement.of_confidence(SEGMENTATION, confidence, organs=3).sampled == ()
    assert (Judgement.empty(3) + judgement).sampled == judgement.sampled


def test_a_probability_for_each_slice_is_needed() -> None:
    """Two for three slices are refused."""
    with pytest.raises(ValueError, match="3 slices and probabilities of shape"):
        Judgement.of_quality(SEGMENTATION, Verdicts(GOOD.good[:2], None), organs=3)
    with pytest.raises(ValueError, match="3 slices with 3 organs, and Dice of shape"):
        Judgement.of_quality(SEGMENTATION, Verdicts(GOOD.good, np.zeros((3, 2), np.float32)), organs=3)


@given(cut=st.integers(1, 5), seed=st.integers(0, 99))
def test_slabs_add_up_to_the_whole(cut: int, seed: int) -> None:
    """Wherever it is cut, also when the first part was written down as JSON and read back in between."""
    rng = np.random.default_rng(seed)
    segmentation = rng.integers(0, 4, (6, 3, 3)).astype(np.uint8)
    good, dice = rng.random(6).astype(np.float32), rng.random((6, 3)).astype(np.float32)
    whole = Judgement.of_quality(segmentation, Verdicts(good, dice), organs=3)
    first = Judgement.of_quality(segmentation[:cut], Verdicts(good[:cut], dice[:cut]), organs=3)
    kept = Judgement.from_dict(json.loads(json.dumps(first.to_dict())))
    assert kept == first
    both = kept + Judgement.of_quality(segmentation[cut:], Verdicts(good[cut:], dice[cut:]), organs=3)
    assert (both.good, both.organ_voxels, both.voxels, both.slices) == (
        whole.good, whole.organ_voxels, whole.voxels, whole.slices,
    )  # fmt: skip
    assert both.weighted == pytest.approx(whole.weighted)
    assert both.dice_weighted == pytest.approx(whole.dice_weighted)
    assert (both.least_organ, both.least_dice) == (whole.least_organ, whole.least_dice)
    before = {name: value for name, value in kept.to_dict().items() if name != "dice_weighted"}
    assert Judgement.from_dict(before).dice_weighted is None, "as it was written before there were any"


def test_voxels_are_counted_per_slice() -> None:
    """By hand, and an organ that is nowhere has a column too."""
    assert slice_voxels(SEGMENTATION, organs=3).tolist() == [[2, 1, 0], [0, 0, 0], [1, 0, 0]]


@given(depth=st.integers(1, 5000), slab=st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_the_sample_does_not_depend_on_the_slabs(depth: int, slab: int) -> None:
    """Slab by slab the same slices are chosen as at once; at most one in eight, and 16 of a volume of 128 or more."""
    whole = list(sampled_slices(0, depth, depth))
    parts = [z for start in range(0, depth, slab) for z in sampled_slices(start, min(start + slab, depth), depth)]
    assert parts == whole
    assert len(whole) <= -(-depth // 8)
    assert len(whole) >= min(depth // 8, 16)
