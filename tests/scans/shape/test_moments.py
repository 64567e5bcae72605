"""Moments of labels by hand, and slabs that add up to them exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from scans.geometry import Box, Frame
from scans.shape.moments import Moments, added, label_moments, together

FRAME = Frame.from_affine(np.array([[2.0, 0, 0, 10], [0, 0.5, 0, -1], [0, 0, 3, 0], [0, 0, 0, 1]]))


def test_three_voxels_by_hand() -> None:
    """At (1,2,3), (2,2,3), (2,3,3): sums 5, 7, 9; of products zz 9, yy 17, xx 27, zy 12, zx 15, yx 21."""
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 3] = labels[2, 2, 3] = labels[2, 3, 3] = 7
    labels[0, 0, 0] = 255
    found = label_moments(labels, Box.of_shape(labels.shape))
    assert found == {7: Moments(3, (5, 7, 9), (9, 17, 27, 12, 15, 21), Box((1, 2, 3), (3, 4, 4)))}
    np.testing.assert_allclose(found[7].centre_mm(FRAME), [16.0, 1 / 6, 5.0])


def test_a_voxel_spreads_as_the_box_that_it_is() -> None:
    """Variance of a box of 2 x 0.5 x 3 mm: the square of each side over 12; two side by side are a longer box."""
    one = Moments.of(np.ones((1, 1, 1), bool), (4, 5, 6))
    np.testing.assert_allclose(one.covariance_mm2(FRAME), np.diag([4, 0.25, 9]) / 12, atol=1e-12)
    two = Moments.of(np.ones((1, 1, 2), bool), (4, 5, 6))
    np.testing.assert_allclose(two.covariance_mm2(FRAME), np.diag([16, 0.25, 9]) / 12, atol=1e-12)


def test_nothing_has_neither_a_middle_nor_a_spread() -> None:
    """Both say so; what is added to nothing stays what it is."""
    with pytest.raises(ValueError, match="no middle"):
        Moments().centre_mm(FRAME)
    with pytest.raises(ValueError, match="no spread"):
        Moments().covariance_mm2(FRAME)
    one = Moments.of(np.ones((2, 1, 1), bool))
    assert together({1: one, 2: Moments()}) == one


@given(labels=arrays(np.uint8, (5, 4, 6), elements=st.integers(0, 3)), cuts=st.sets(st.integers(0, 5)))
def test_slabs_add_up_to_exactly_the_moments_of_the_whole(labels: NDArray[np.uint8], cuts: set[int]) -> None:
    """Whatever the slabs; and they are numpy's own, of the indices of the voxels."""
    edges = sorted({0, 5} | cuts)
    found: dict[int, Moments] = {}
    for start, stop in itertools.pairwise(edges):
        found = added(found, label_moments(labels[start:stop], Box((start, 0, 0), (stop, 4, 6))))
    assert found == label_moments(labels, Box.of_shape((5, 4, 6)))
    for index, moments in found.items():
        places = np.argwhere(labels == index)[:, ::-1]
        spread = np.cov(places.T, bias=True).reshape(3, 3) + np.eye(3) / 12
        np.testing.assert_allclose(moments.covariance_mm2(Frame.from_affine(np.eye(4))), spread, atol=1e-9)
