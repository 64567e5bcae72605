"""Probabilities in slices and votes along two other axes, fused by hand on a volume of 3 x 3 x 3 voxels."""

import pytest
import torch
from torch import Tensor

from tests.training.tiny_volumes import ORGANS
from training.learning.fusion import Vote, fused, organ_means, vote

BACKGROUND, LEFT_EYE, RIGHT_EYE, HEART = range(4)
PARTNERS = torch.from_numpy(ORGANS.mirrored.astype("int64"))
SHAPE = (3, 3, 3)
MIDDLE = (1, 1, 1)


def in_slices(*middle: float) -> Tensor:
    """Probabilities of the four classes in the voxel in the middle; background with 0.9, heart with 0.1 elsewhere."""
    probabilities = torch.zeros(3, 4, 3, 3)
    probabilities[:, BACKGROUND], probabilities[:, HEART] = 0.9, 0.1
    probabilities[1, :, 1, 1] = torch.tensor(middle)
    return probabilities


def voted(class_: int, probability: float) -> Vote:
    """For a class in the voxel in the middle; for background with 0.9 elsewhere."""
    classes, certain = torch.zeros(SHAPE, dtype=torch.uint8), torch.full(SHAPE, 0.9)
    classes[MIDDLE], certain[MIDDLE] = class_, probability
    return Vote(classes, certain)


@pytest.mark.parametrize(
    ("middle", "along_y", "along_x", "expected"),
    [
        ((0.6, 0, 0, 0.4), (HEART, 0.5), (HEART, 0.3), (HEART, 1.2)),  # two planes against the slice
        ((1.0, 0, 0, 0.0), (HEART, 0.5), (HEART, 0.4), (BACKGROUND, 1.0)),  # that is sure
        ((0.6, 0, 0, 0.4), (BACKGROUND, 0.4), (HEART, 0.5), (BACKGROUND, 1.0)),
        ((0.4, 0, 0.5, 0.1), (HEART, 0.9), (BACKGROUND, 0.7), (BACKGROUND, 1.1)),  # the second best of the slice
        ((0.5, 0.2, 0.3, 0), (LEFT_EYE, 0.5), (LEFT_EYE, 0.4), (RIGHT_EYE, 1.2)),  # an eye: which, the slice says
        ((0.9, 0.1, 0.0, 0), (RIGHT_EYE, 0.6), (LEFT_EYE, 0.7), (LEFT_EYE, 1.4)),
    ],
)
def test_the_class_with_the_greatest_sum_wins(
    middle: tuple[float, ...],
    along_y: tuple[int, float],
    along_x: tuple[int, float],
    expected: tuple[int, float],
) -> None:
    """Voxel by voxel: the middle one is disputed; of the 26 around it all say background with 0.9."""
    classes, certainty = fused(in_slices(*middle), [voted(*along_y), voted(*along_x)], PARTNERS)
    assert classes.dtype == torch.uint8
    assert (int(classes[MIDDLE]), float(certainty[MIDDLE])) == (expected[0], pytest.approx(expected[1] / 3))
    around = torch.ones(SHAPE, dtype=torch.bool)
    around[MIDDLE] = False
    assert not classes[around].any()
    assert torch.allclose(certainty[around], torch.tensor(0.9))


def test_without_votes_the_slice_decides() -> None:
    """As it does where one network looks along one axis; what was given is left as it was."""
    probabilities = in_slices(0.3, 0.1, 0.2, 0.4)
    classes, certainty = fused(probabilities, [], PARTNERS)
    assert (int(classes[MIDDLE]), float(certainty[MIDDLE])) == (HEART, pytest.approx(0.4))
    fused(probabilities, [voted(LEFT_EYE, 1.0)], PARTNERS)
    assert torch.equal(probabilities, in_slices(0.3, 0.1, 0.2, 0.4))


def test_a_vote_for_one_of_a_pair_has_the_probability_of_both() -> None:
    """Either eye with 0.3 beats background with 0.4: a plane does not show on which side of the animal it lies."""
    classes, probability = vote(in_slices(0.4, 0.3, 0.3, 0.0), PARTNERS)
    assert int(classes[MIDDLE]) in (LEFT_EYE, RIGHT_EYE)
    assert float(probability[MIDDLE]) == pytest.approx(0.6)
    assert (int(classes[0, 0, 0]), float(probability[0, 0, 0])) == (BACKGROUND, pytest.approx(0.9))


def test_the_certainty_of_an_organ_is_the_mean_over_its_pixels() -> None:
    """By hand, of two slices of three pixels: 0.5 and 1 of an eye are 0.75; of what is not there nobody can say."""
    classes = torch.tensor([[[1, 1, 0]], [[3, 0, 0]]], dtype=torch.uint8)
    certainty = torch.tensor([[[0.5, 1.0, 0.1]], [[0.25, 0.0, 0.0]]])
    nan = float("nan")
    expected = torch.tensor([[0.75, nan, nan], [nan, nan, 0.25]])
    assert torch.allclose(organ_means(certainty, classes, organs=3), expected, equal_nan=True)
