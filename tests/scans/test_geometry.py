"""Geometry: boxes as sets of voxels, and frames that agree with ITK's and NIfTI's conventions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.geometry import Box, Frame, Spacing, Triple

corners = st.tuples(*[st.integers(0, 6)] * 3)
sides = st.tuples(*[st.integers(1, 4)] * 3)
filled_boxes = st.builds(lambda start, shape: Box.of_shape(shape).shifted(start), corners, sides)
boxes = filled_boxes | st.builds(Box, corners, corners)
finite = st.floats(-100, 100)
lengths = st.floats(0.001, 10)


def voxels(box: Box) -> set[Triple]:
    z, y, x = (range(a, b) for a, b in zip(box.start, box.stop, strict=True))
    return {(i, j, k) for i in z for j in y for k in x}


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_spacing_is_finite_and_positive(value: float) -> None:
    """A spacing that no scanner has is refused, and the axis is named."""
    with pytest.raises(ValueError, match="spacing along y"):
        Spacing(1.0, value, 1.0)


def test_spacing_is_in_the_order_of_the_axes() -> None:
    """It unpacks as z, y, x, and a voxel of 3 x 2 x 0.5 mm holds 3 mm3."""
    assert tuple(Spacing(z=3.0, y=2.0, x=0.5)) == (3.0, 2.0, 0.5)
    assert Spacing(3.0, 2.0, 0.5).voxel_mm3 == 3.0


@given(a=boxes, b=boxes)
def test_union_is_the_smallest_box_around_both(a: Box, b: Box) -> None:
    """`|` holds both boxes, each of its faces is a face of one of them, and an empty box adds nothing."""
    union = a | b
    held = [box for box in (a, b) if box.voxels]
    if not held:
        assert union.voxels == 0
        return
    assert union.start == tuple(min(box.start[axis] for box in held) for axis in range(3))
    assert union.stop == tuple(max(box.stop[axis] for box in held) for axis in range(3))


@given(box=filled_boxes)
def test_a_box_indexes_its_voxels(box: Box) -> None:
    """`shape`, `voxels` and `slices` agree with one another and with NumPy."""
    array = np.zeros((10, 10, 10))
    array[box.slices] = 1
    assert {(int(z), int(y), int(x)) for z, y, x in np.argwhere(array)} == voxels(box)
    assert array[box.slices].shape == box.shape
    assert box.voxels == len(voxels(box))


@given(box=filled_boxes, offset=corners)
def test_a_box_moves(box: Box, offset: Triple) -> None:
    """A shifted box holds the same voxels, each moved by the offset."""
    moved = {(z + offset[0], y + offset[1], x + offset[2]) for z, y, x in voxels(box)}
    assert voxels(box.shifted(offset)) == moved


def test_a_box_knows_whether_it_touches_the_border() -> None:
    """One voxel from every face is inside; at any face it touches."""
    assert not Box((1, 1, 1), (3, 3, 3)).touches_border((4, 4, 4))
    assert Box((1, 0, 1), (3, 3, 3)).touches_border((4, 4, 4))
    assert Box((1, 1, 1), (3, 3, 4)).touches_border((4, 4, 4))


def test_a_frame_from_itk_s_terms_by_hand() -> None:
    """Spacing 3, 2, 1 mm (z, y, x) and origin (10, 20, 30) LPS: x and y change sign on the way to RAS."""
    frame = Frame.from_lps(Spacing(3, 2, 1), origin=(10, 20, 30))

    assert frame.affine == ((-1, 0, 0, -10), (0, -2, 0, -20), (0, 0, 3, 30), (0, 0, 0, 1))
    assert frame.spacing == Spacing(3, 2, 1)
    assert frame.origin == (10, 20, 30)
    np.testing.assert_array_equal(frame.direction, np.eye(3))
    assert frame.world_mm((1, 2, 3)) == (-10 - 3, -20 - 4, 30 + 3)
    assert frame.voxel_mm3 == pytest.approx(6)


def test_an_affine_is_kept_as_it_was_given() -> None:
    """No digit of a file's affine changes by being read: that is what is written back."""
    matrix = np.array([[0.1, 0.02, 0, -7], [-0.02, 0.1, 0, 8.1], [0, 0, 0.3, 1 / 3], [0, 0, 0, 1]])
    np.testing.assert_array_equal(Frame.from_affine(matrix).matrix, matrix)


@given(
    steps=st.builds(Spacing, lengths, lengths, lengths),
    origin=st.tuples(finite, finite, finite),
    angle=st.floats(0, 6.28),
    flip=st.booleans(),
)
def test_spacing_origin_and_direction_survive_the_affine(
    steps: Spacing, origin: tuple[float, float, float], angle: float, flip: bool
) -> None:
    """Turned, mirrored and moved: what an ITK file says comes out of the frame again."""
    cosine, sine = math.cos(angle), math.sin(angle)
    direction = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, -1 if flip else 1]])

    frame = Frame.from_lps(steps, origin=origin, direction=direction)

    np.testing.assert_allclose(tuple(frame.spacing), tuple(steps))
    np.testing.assert_allclose(frame.origin, origin)
    np.testing.assert_allclose(frame.direction, direction, atol=1e-12)


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 4)),
        np.full((4, 4), np.nan),
        np.diag([1.0, 1, 0, 1]),
        np.diag([1.0, 1, 1, 2]),
        np.array([[0.1, 0.3, 0, 0], [0.1, 0.3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.array([[0.1, 0.3, 0, 0], [0.2, 0.6 + 1e-9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["not 4 x 4", "not finite", "no length", "not affine", "parallel", "all but parallel"],
)
def test_affines_that_place_nothing_are_refused(matrix: np.ndarray) -> None:
    """A frame always has three axes that span space."""
    with pytest.raises(ValueError, match="affine"):
        Frame.from_affine(matrix)


def test_micrometre_voxels_are_not_taken_for_singular() -> None:
    """0.0005 mm voxels have a determinant of 1e-10, and are a frame like any other."""
    assert Frame.from_lps(Spacing(5e-4, 5e-4, 5e-4)).spacing.x == pytest.approx(5e-4)
