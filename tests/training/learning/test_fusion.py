"""Opinions along three axes, fused by hand on a volume of 3 x 3 x 3 voxels."""

import numpy as np
import pytest

from training.learning.fusion import Opinion, fused

SHAPE = (3, 3, 3)
HEART, GUT = 3, 6


def opinion(organ: int, certainty: float, *, elsewhere: float = 0.9) -> Opinion:
    """An organ in the voxel in the middle, background elsewhere."""
    classes, certainties = np.zeros(SHAPE, dtype=np.uint8), np.full(SHAPE, elsewhere, dtype=np.float32)
    classes[1, 1, 1], certainties[1, 1, 1] = organ, certainty
    return Opinion(classes, certainties)


@pytest.mark.parametrize(
    ("along_z", "along_y", "along_x", "expected"),
    [
        ((HEART, 0.6), (GUT, 0.5), (GUT, 0.4), (GUT, 0.3)),  # 0.9 of two against 0.6 of one
        ((HEART, 1.0), (GUT, 0.5), (GUT, 0.4), (HEART, 1 / 3)),  # one that is sure against two that are not
        ((HEART, 0.5), (GUT, 0.5), (0, 0.4), (HEART, 0.5 / 3)),  # as much: the first
        ((0, 0.4), (GUT, 0.5), (HEART, 0.6), (HEART, 0.2)),
        ((HEART, 0.9), (HEART, 0.6), (HEART, 0.3), (HEART, 0.6)),
    ],
)
def test_the_class_with_the_most_certainty_wins(
    along_z: tuple[int, float],
    along_y: tuple[int, float],
    along_x: tuple[int, float],
    expected: tuple[int, float],
) -> None:
    """Voxel by voxel: the middle one is disputed, of the 26 around it all say background with 0.9."""
    classes, certainty = fused([opinion(*along_z), opinion(*along_y), opinion(*along_x)])
    assert (classes[1, 1, 1], certainty[1, 1, 1]) == (expected[0], pytest.approx(expected[1]))
    around = np.ones(SHAPE, dtype=bool)
    around[1, 1, 1] = False
    assert not classes[around].any()
    assert certainty[around] == pytest.approx(0.9)


def test_one_opinion_is_left_as_it_is() -> None:
    """Along one axis there is nothing to fuse; and nothing that was given is written to."""
    own = opinion(HEART, 0.7)
    classes, certainty = fused([own])
    assert np.array_equal(classes, own.classes) and np.array_equal(certainty, own.certainty)
    assert classes is not own.classes


def test_no_opinion_is_an_error() -> None:
    """It is said, and no array of nothing returned."""
    with pytest.raises(ValueError, match="at least one"):
        fused([])
