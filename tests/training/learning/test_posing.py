"""Patches are turned as worked out on small slices, and as SciPy turns them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy_patches import Pose

from tests.training.tiny_volumes import STILL
from training.learning.augmentation import draw_linear, greatest_extent
from training.learning.posing import Places, Poses

SLICE = np.arange(16, dtype=np.uint16).reshape(4, 4)
LABELS = np.array([[1, 0, 0, 2], [1, 0, 0, 2], [3, 3, 3, 3], [0, 0, 0, 0]], dtype=np.uint8)


def poses(
    *rows: tuple[float, float], side: int = 4, start: tuple[int, int] = (0, 0), slice_: np.ndarray = SLICE
) -> Poses:
    """Of one patch whose crop is the whole slice."""
    centre = torch.tensor([[first + (side - 1) / 2 for first in start]])
    return Poses(torch.tensor([rows]), centre, torch.tensor([slice_.shape], dtype=torch.float32))


def image(places: Places, slice_: np.ndarray, *, fill: float = 0.0) -> np.ndarray:
    grey = places.grey_values(torch.from_numpy(slice_)[None, None])[:, 0]
    return torch.where(places.inside, grey, fill)[0].numpy()


def labels(places: Places, slice_: np.ndarray) -> np.ndarray:
    return places.labels(torch.from_numpy(slice_)[None])[0].numpy()


def test_an_unturned_pose_is_a_crop() -> None:
    """Rows 1 and 2 of columns 2 and 3, exactly."""
    places = poses((1.0, 0.0), (0.0, 1.0), side=2, start=(1, 2)).places(2)
    assert np.allclose(image(places, SLICE), [[6, 7], [10, 11]], atol=1e-4)
    assert labels(places, LABELS).tolist() == [[0, 2], [3, 3]]


def test_what_lies_outside_the_slice_is_not_inside_and_background() -> None:
    """A patch that starts one row above and one column left of the slice."""
    places = poses((1.0, 0.0), (0.0, 1.0), side=2, start=(-1, -1)).places(2)
    assert places.inside[0].tolist() == [[False, False], [False, True]]
    assert np.allclose(image(places, SLICE + np.uint16(5), fill=100.0), [[100, 100], [100, 5]], atol=1e-4)
    assert labels(places, LABELS).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("linear", "expected", "reflected"),
    [
        (((-1.0, 0.0), (0.0, 1.0)), SLICE[::-1], True),
        (((1.0, 0.0), (0.0, -1.0)), SLICE[:, ::-1], True),
        (((-1.0, 0.0), (0.0, -1.0)), SLICE[::-1, ::-1], False),
        (((0.0, 1.0), (1.0, 0.0)), SLICE.T, True),
        (((0.0, -1.0), (1.0, 0.0)), np.rot90(SLICE, k=-1), False),
    ],
    ids=["rows", "columns", "both", "diagonal", "a quarter turn"],
)
def test_one_reflection_is_a_mirror_image_and_two_are_not(
    linear: tuple[tuple[float, float], tuple[float, float]], expected: np.ndarray, reflected: bool
) -> None:
    """A half turn is two reflections; labels go where the grey values go."""
    turned = poses(*linear)
    assert np.allclose(image(turned.places(4), SLICE), expected, atol=1e-4)
    assert np.array_equal(labels(turned.places(4), LABELS), LABELS.ravel()[expected])
    assert turned.reflected.tolist() == [reflected]


def test_a_scaled_pose_interpolates_grey_values_and_takes_the_nearest_label() -> None:
    """Enlarged twice about the middle of a row 0 10 20 30: 7.5 12.5 17.5 22.5, labels of pixels 1, 1, 2, 2."""
    line = np.tile(np.array([0, 10, 20, 30], dtype=np.uint16), (4, 1))
    classes = np.tile(np.array([0, 1, 2, 0], dtype=np.uint8), (4, 1))
    places = poses((0.5, 0.0), (0.0, 0.5)).places(4)
    assert np.allclose(image(places, line)[0], [7.5, 12.5, 17.5, 22.5], atol=1e-3)
    assert labels(places, classes)[0].tolist() == [1, 1, 2, 2]


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    start=st.tuples(st.integers(-20, 30), st.integers(-20, 30)),
    degrees=st.sampled_from([0.0, 15.0, 180.0]),
    pixel=st.sampled_from([(1.0, 1.0), (4.0, 1.0), (1.0, 2.5)]),
)
def test_patches_are_turned_as_scipy_turns_them(
    seed: int, shape: tuple[int, int], start: tuple[int, int], degrees: float, pixel: tuple[float, float]
) -> None:
    """Within a thousandth of the range of grey values, the nearest label wherever one is nearest, and the same pixels
    outside; but for positions that are as good as on the edge of the slice, or between two labels."""
    rng, side = np.random.default_rng(seed), 20
    slice_ = rng.integers(0, 4000, shape).astype(np.uint16)
    classes = rng.integers(0, 9, shape).astype(np.uint8)
    limits = STILL if not degrees else replace(STILL, rotation_degrees=degrees, scale=0.3)
    linear = draw_linear(limits, rng, pixel=pixel)
    reference = Pose(side, start, linear)
    centre = torch.tensor([[first + (side - 1) / 2 for first in start]])
    size = torch.tensor([shape], dtype=torch.float32)
    places = Poses(torch.from_numpy(linear[None].astype(np.float32)), centre, size).places(side)
    offset = np.stack(np.meshgrid(*(np.arange(side) - (side - 1) / 2,) * 2, indexing="ij"))
    exact = np.tensordot(linear, offset, axes=1) + centre[0].numpy()[:, None, None]
    edge = (np.minimum(abs(exact), abs(exact - np.array(shape)[:, None, None] + 1)) < 2e-3).any(axis=0)
    tie = (abs(exact % 1 - 0.5) < 1e-4).any(axis=0) | edge
    still = degrees == 0
    image_off = abs(image(places, slice_, fill=-1.0) - reference.image(slice_, fill=-1.0))
    assert (image_off <= 4.0)[~edge | still].all()
    assert (labels(places, classes) == reference.labels(classes))[~tie | still].all()


@given(
    seed=st.integers(0, 2**32),
    degrees=st.floats(0, 180),
    scale=st.floats(0, 0.9),
    pixel=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
)
def test_no_patch_shows_more_than_its_greatest_extent(
    seed: int, degrees: float, scale: float, pixel: tuple[float, float]
) -> None:
    """Rows from the one above its first pixel to the one below its last, and so columns."""
    limits = replace(STILL, rotation_degrees=degrees, scale=scale, mirror_x=0.5)
    linear = draw_linear(limits, np.random.default_rng(seed), pixel=pixel)
    reach = np.abs(linear).sum(axis=1) * (16 - 1)
    assert (np.ceil(reach) + 2 <= greatest_extent(limits, side=16, pixel=pixel)).all()
