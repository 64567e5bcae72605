"""Volumes: slabs that cover the voxels once, whatever holds them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.geometry import Box, Frame, Spacing
from scans.volume import Volume

ARRAY = np.arange(5 * 3 * 2, dtype=np.int16).reshape(5, 3, 2)


def volume() -> Volume:
    return Volume.from_array(ARRAY, Spacing(3, 2, 1))


def test_a_volume_knows_its_shape_type_and_place() -> None:
    """Shape, type and spacing are in the order z, y, x; a whole frame is taken as it is."""
    assert volume().shape == (5, 3, 2)
    assert volume().dtype == np.int16
    assert volume().spacing == Spacing(3, 2, 1)
    assert volume().box == Box((0, 0, 0), (5, 3, 2))
    frame = Frame.from_lps(Spacing(1, 1, 1), origin=(1, 2, 3))
    assert Volume.from_array(ARRAY, frame).frame is frame


@given(depth=st.integers(1, 7))
def test_slabs_cover_every_slice_once_upwards(depth: int) -> None:
    """Each slab fills its box, none is deeper than asked, and together they are the volume."""
    rebuilt = np.full(ARRAY.shape, -1, ARRAY.dtype)
    lowest = 0
    for box, slab in volume().slabs(depth):
        assert box.start == (lowest, 0, 0)
        assert slab.shape == box.shape
        assert len(slab) <= depth
        rebuilt[box.slices] = slab
        lowest = box.stop[0]
    np.testing.assert_array_equal(rebuilt, ARRAY)
    np.testing.assert_array_equal(volume().read(), ARRAY)


@given(start=st.integers(-8, 8), stop=st.integers(-8, 8))
def test_a_slab_is_clipped_to_the_volume(start: int, stop: int) -> None:
    """Slices outside are left out; where none is inside, the slab is empty."""
    inside = [z for z in range(start, stop) if 0 <= z < 5]
    slab = volume().slab(start, stop)
    assert slab.shape == (len(inside), 3, 2)
    np.testing.assert_array_equal(slab, ARRAY[inside])


@pytest.mark.parametrize("depth", [0, -1])
def test_slabs_of_no_slices_are_refused(depth: int) -> None:
    """A depth that would never end, or never begin, is named."""
    with pytest.raises(ValueError, match="at least 1"):
        list(volume().slabs(depth))
