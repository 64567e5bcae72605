"""How patches are turned, as it is drawn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.tiny_volumes import STILL
from training.data.planes import Axis
from training.learning.augmentation import along, draw_linear


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
    mirrored = sum(np.linalg.det(draw_linear(half, rng)) < 0 for _ in range(400))
    assert 160 <= mirrored <= 240
