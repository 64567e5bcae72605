"""Planes of a volume across each of its axes, and copies of volumes that are made of them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.organs import NOT_LABELLED
from tests.training.tiny_volumes import ORGANS, fish, write_volume
from training.data.planes import AXES, Axis, Planes, order_of, seen_along, write_reformatted
from training.data.prepared import CHUNK_SIDE, SliceReader

SHAPE = (2, 3, 4)
NUMBERED = np.arange(24).reshape(SHAPE)


@pytest.mark.parametrize(
    ("axis", "last"),
    [(0, [[12, 13, 14, 15], [16, 17, 18, 19], [20, 21, 22, 23]]), (1, [[8, 9, 10, 11], [20, 21, 22, 23]]),
     (2, [[3, 7, 11], [15, 19, 23]])],
)  # fmt: skip
def test_a_plane_keeps_the_order_of_its_axes(axis: Axis, last: list[list[int]]) -> None:
    """The last plane across z is (Y, X), across y (Z, X), across x (Z, Y)."""
    planes = Planes(NUMBERED, axis)
    assert planes.shape == (SHAPE[axis], *np.shape(last))
    assert planes[SHAPE[axis] - 1 :][0].tolist() == last


@given(
    axis=st.sampled_from(AXES),
    longest=st.integers(1, 2 * CHUNK_SIDE + 9),
    ends=st.lists(st.integers(0, 2 * CHUNK_SIDE + 20), min_size=2, max_size=6),
)
def test_any_planes_are_those_of_the_whole(axis: Axis, longest: int, ends: list[int]) -> None:
    """Wherever they begin and end, within a chunk or over two borders of chunks, asked upwards or not."""
    array = np.arange(6 * longest).reshape(np.insert((2, 3), axis, longest))
    planes, whole = Planes(array, axis), np.moveaxis(array, axis, 0)
    for start, stop in pairwise(ends):
        assert np.array_equal(planes[start:stop], whole[start:stop])


@pytest.mark.parametrize("axis", AXES)
def test_a_reformatted_volume_is_where_it_was(tmp_path: Path, axis: Axis) -> None:
    """Each voxel has its grey value, its label, also that nobody has given one, and its place in mm."""
    image, labels = fish(1, slices=5, side=24)
    labels[3] = NOT_LABELLED
    record = write_volume(tmp_path / "prepared", "fish", image, labels, split="train")
    reader = SliceReader(tmp_path / "prepared", cache_megabytes=0)
    reformatted = write_reformatted(tmp_path / "reformatted", record, axis, reader=reader, organs=ORGANS)
    other = SliceReader(tmp_path / "reformatted", cache_megabytes=0)
    place = np.array([2, 7, 11])
    number, row, column = place[list(order_of(axis))]
    assert reformatted.shape == other.volume(reformatted).shape == tuple(np.array(record.shape)[list(order_of(axis))])
    assert other.image("fish", number)[row, column] == image[tuple(place)]
    assert np.array_equal(other.label_volume(reformatted).read(), np.moveaxis(labels, axis, 0))
    assert reformatted.frame.matrix @ [column, row, number, 1] == pytest.approx(record.frame.matrix @ [*place[::-1], 1])
    counted = [np.bincount(plane.ravel(), minlength=256)[: ORGANS.classes] for plane in np.moveaxis(labels, axis, 0)]
    assert other.slice_voxels("fish").tolist() == np.array(counted).tolist()


def test_a_volume_along_z_is_itself(tmp_path: Path) -> None:
    """Nothing of its record changes."""
    record = write_volume(tmp_path, "fish", *fish(1), split="train")
    assert seen_along(record, 0) == record
