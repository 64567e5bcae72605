"""Poses of patches, worked out on small slices, and changes of grey values."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.organs import OrganMap
from tests.training.tiny_volumes import STILL
from training.data.planes import Axis
from training.learning.augmentation import Pose, along, change_grey_values, draw_linear

SLICE = np.arange(16, dtype=np.uint16).reshape(4, 4)
LABELS = np.array([[1, 0, 0, 2], [1, 0, 0, 2], [3, 3, 3, 3], [0, 0, 0, 0]], dtype=np.uint8)
SWAP = OrganMap.from_mapping({1: "left_eye", 2: "right_eye", 3: "heart"}).mirrored


def pose(*rows: tuple[float, float], side: int = 4, start: tuple[int, int] = (0, 0)) -> Pose:
    return Pose(side, start, np.array(rows))


def test_an_unturned_pose_is_a_crop() -> None:
    """Rows 1 and 2 of columns 2 and 3, exactly."""
    crop = pose((1.0, 0.0), (0.0, 1.0), side=2, start=(1, 2))
    assert crop.image(SLICE, fill=0.0).tolist() == [[6, 7], [10, 11]]


def test_what_nobody_has_looked_at_stays_so_in_a_mirror_image() -> None:
    """255 is no class that trades places; outside the slice is background as always."""
    labels = np.array([[1, 255], [255, 0]], dtype=np.uint8)
    mirrored = pose((-1.0, 0.0), (0.0, 1.0), side=2)
    assert mirrored.labels(labels, mirrored=SWAP).tolist() == [[255, 0], [2, 255]]
    outside = pose((-1.0, 0.0), (0.0, 1.0), side=2, start=(-1, 0))
    assert outside.labels(labels, mirrored=SWAP).tolist() == [[2, 255], [0, 0]]


def test_what_lies_outside_the_slice_is_fill_and_background() -> None:
    """A patch that starts one row above and one column left of the slice."""
    outside = pose((1.0, 0.0), (0.0, 1.0), side=2, start=(-1, -1))
    assert outside.image(SLICE + np.uint16(5), fill=100.0).tolist() == [[100, 100], [100, 5]]
    assert outside.labels(LABELS, mirrored=SWAP).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("linear", "image", "swapped"),
    [
        (((-1.0, 0.0), (0.0, 1.0)), SLICE[::-1], True),
        (((1.0, 0.0), (0.0, -1.0)), SLICE[:, ::-1], True),
        (((-1.0, 0.0), (0.0, -1.0)), SLICE[::-1, ::-1], False),
        (((0.0, 1.0), (1.0, 0.0)), SLICE.T, True),
    ],
    ids=["rows", "columns", "both", "diagonal"],
)
def test_one_reflection_swaps_left_and_right_and_two_do_not(
    linear: tuple[tuple[float, float], tuple[float, float]], image: np.ndarray, swapped: bool
) -> None:
    """A mirror image has a left eye where a right one was; a half turn, which is two reflections, has not."""
    turned = pose(*linear)
    expected = np.array([0, 2, 1, 3] if swapped else [0, 1, 2, 3])[turned.image(LABELS, fill=0).astype(int)]
    assert np.array_equal(turned.image(SLICE, fill=0.0), image)
    assert np.array_equal(turned.labels(LABELS, mirrored=SWAP), expected)


def test_a_quarter_turn_moves_image_and_labels_alike() -> None:
    """Nine degrees times ten: interpolation and the nearest label agree where the grid meets itself again."""
    quarter = pose((0.0, -1.0), (1.0, 0.0))
    assert np.allclose(quarter.image(SLICE, fill=0.0), np.rot90(SLICE, k=-1))
    assert np.array_equal(quarter.labels(LABELS, mirrored=SWAP), np.rot90(LABELS, k=-1))


def test_a_scaled_pose_interpolates_grey_values_and_takes_the_nearest_label() -> None:
    """Enlarged twice about the middle of a row 0 10 20 30: 7.5 12.5 17.5 22.5, labels of pixels 1, 1, 2, 2."""
    line = np.tile(np.array([0, 10, 20, 30], dtype=np.uint16), (4, 1))
    labels = np.tile(np.array([0, 1, 2, 0], dtype=np.uint8), (4, 1))
    enlarged = pose((0.5, 0.0), (0.0, 0.5))
    assert enlarged.image(line, fill=0.0)[0].tolist() == [7.5, 12.5, 17.5, 22.5]
    assert enlarged.labels(labels, mirrored=SWAP)[0].tolist() == [1, 1, 2, 2]


def test_a_turned_patch_shows_what_is_around_it_in_the_slice() -> None:
    """The corners of a patch that is turned in the middle of a slice are real grey values, not fill."""
    angle = np.deg2rad(45)
    turned = Pose(8, (12, 12), np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))
    assert (turned.image(np.full((32, 32), 7, dtype=np.uint16), fill=0.0) == 7).all()


@pytest.mark.parametrize(("axis", "mirrors"), [(0, (0.1, 0.5)), (1, (0.0, 0.5)), (2, (0.0, 0.1))])
def test_planes_are_mirrored_as_slices_are(axis: Axis, mirrors: tuple[float, float]) -> None:
    """Along y a tenth, along x half, along z never; planes across y have z along rows and x along columns, those across
    x have z and y. What else is changed is as in slices."""
    slices = replace(STILL, mirror_y=0.1, mirror_x=0.5, rotation_degrees=10)
    planes = along(slices, axis)
    assert (planes.mirror_y, planes.mirror_x) == mirrors
    assert replace(planes, mirror_y=0.1, mirror_x=0.5) == slices


@given(seed=st.integers(0, 2**32), rows=st.floats(0.1, 10), columns=st.floats(0.1, 10))
def test_a_patch_is_turned_in_space_whatever_its_pixels_are_like(seed: int, rows: float, columns: float) -> None:
    """In mm it is the rotation that it is of square pixels: lengths stay, and so do right angles."""
    limits = replace(STILL, rotation_degrees=90)
    square = draw_linear(limits, np.random.default_rng(seed))
    linear = draw_linear(limits, np.random.default_rng(seed), pixel=(rows, columns))
    in_mm = np.diag([rows, columns])
    assert in_mm @ linear @ np.linalg.inv(in_mm) == pytest.approx(square, abs=1e-9)
    assert square @ square.T == pytest.approx(np.eye(2), abs=1e-9)


@given(seed=st.integers(0, 2**32), mirror=st.sampled_from([0.0, 1.0]))
def test_drawn_poses_stay_within_their_limits(seed: int, mirror: float) -> None:
    """The determinant is 1 / size^2 within the limits, positive for none and for two reflections; the angle is too."""
    limits = replace(STILL, mirror_y=mirror, mirror_x=mirror, rotation_degrees=10, scale=0.2)
    linear = draw_linear(limits, np.random.default_rng(seed))
    size = np.linalg.det(linear) ** -0.5
    angle = np.rad2deg(np.arctan2(linear[1, 0], linear[0, 0]))
    assert 0.8 <= size <= 1.2
    assert min(abs(angle), 180 - abs(angle)) <= 10


def test_half_of_the_patches_are_mirror_images_when_each_axis_is_mirrored_half_of_the_time() -> None:
    """1/2 * 1/2 + 1/2 * 1/2 of 400 draws, give or take."""
    rng = np.random.default_rng(1)
    half = replace(STILL, mirror_y=0.5, mirror_x=0.5)
    mirrored = sum(Pose(4, (0, 0), draw_linear(half, rng)).reflected for _ in range(400))
    assert 160 <= mirrored <= 240


def test_grey_values_are_left_alone_when_everything_is_switched_off() -> None:
    """A pose without changes and grey values without changes are those of the slice."""
    patch = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    rng = np.random.default_rng(0)
    assert np.allclose(change_grey_values(patch, np.zeros((4, 4), dtype=np.uint8), STILL, rng), patch, atol=1e-6)
    assert np.array_equal(draw_linear(STILL, rng), np.eye(2))


@given(seed=st.integers(0, 2**32))
def test_changed_grey_values_stay_normalised(seed: int) -> None:
    """Whatever is drawn, the network sees float32 values from 0 to 1, as it will when it serves."""
    strong = replace(
        STILL, contrast=0.9, brightness=0.9, noise=0.9, class_contrast=0.9, gamma=4.0, blur=3.0, low_resolution=15.0
    )
    rng = np.random.default_rng(seed)
    patch, labels = rng.random((8, 8), dtype=np.float32), rng.integers(0, 3, (8, 8)).astype(np.uint8)
    changed = change_grey_values(patch, labels, strong, rng)
    assert changed.shape == (8, 8)
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1


PATCH = np.linspace(0.2, 0.6, 16, dtype=np.float32).reshape(4, 4)
CLASSES = np.array([[0, 0, 1, 1]] * 4, dtype=np.uint8)


def changed(seed: int, **augmentation: float) -> np.ndarray:
    return change_grey_values(PATCH, CLASSES, replace(STILL, **augmentation), np.random.default_rng(seed))


@given(seed=st.integers(0, 2**32))
def test_a_class_gets_a_contrast_and_a_brightness_of_its_own(seed: int) -> None:
    """Within a class the differences are those of before times one factor, within limits; the classes' differ."""
    patch = changed(seed, class_contrast=0.3)
    factors = [np.ptp(patch[class_ == CLASSES]) / np.ptp(PATCH[class_ == CLASSES]) for class_ in (0, 1)]
    assert all(0.7 <= factor <= 1.3 for factor in factors)
    assert factors[0] != factors[1]
    for class_, factor in enumerate(factors):
        old, new = PATCH[class_ == CLASSES], patch[class_ == CLASSES]
        assert np.allclose(new - new.mean(), factor * (old - old.mean()), atol=1e-5)
        assert 0.7 <= new.mean() / old.mean() <= 1.3


@given(seed=st.integers(0, 2**32))
def test_gamma_is_one_exponent_for_the_patch(seed: int) -> None:
    """Between 1 / 1.5 and 1.5: what was in order stays so."""
    exponents = np.log(changed(seed, gamma=0.5)) / np.log(PATCH)
    assert np.allclose(exponents, exponents[0, 0], atol=1e-4)
    assert 1 / 1.501 <= exponents[0, 0] <= 1.501


@pytest.mark.parametrize("way", ["blur", "low_resolution"])
def test_half_of_the_patches_lose_detail_and_keep_their_size(way: str) -> None:
    """A chequered patch is as it was in about half of 200 draws, and else no less flat, most often by much."""
    board = np.indices((16, 16)).sum(axis=0).astype(np.float32) % 2
    strong, labels = replace(STILL, **{way: 3.0}), np.zeros((16, 16), dtype=np.uint8)
    patches = [change_grey_values(board, labels, strong, np.random.default_rng(seed)) for seed in range(200)]
    assert {patch.shape for patch in patches} == {(16, 16)}
    changed = [patch for patch in patches if not np.allclose(patch, board, atol=1e-6)]
    assert 60 <= len(changed) <= 130
    assert all(patch.std() <= board.std() + 1e-6 for patch in changed)
    assert np.median([patch.std() for patch in changed]) < 0.3


def test_what_is_switched_off_draws_nothing() -> None:
    """Results of before come out again: contrast, brightness and noise are drawn as if the others were not there."""
    rng, beside = np.random.default_rng(3), np.random.default_rng(3)
    change_grey_values(PATCH, CLASSES, replace(STILL, noise=0.1), rng)
    beside.uniform(-1, 1), beside.uniform(-1, 1), beside.uniform(0, 1)
    beside.standard_normal(PATCH.shape, dtype=np.float32)
    assert rng.random() == beside.random()
