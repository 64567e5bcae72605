"""Windows of slices are what they are in the slice, cost the chunks that they touch, and are kept up to a limit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from training.data.patches import PatchReader, Rectangle
from training.data.prepared import CHUNK_SIDE, SliceReader, create_array

SHAPE = (2, 600, 300)
GREY = np.random.default_rng(1).integers(0, 2**16, SHAPE).astype(np.uint16)


class CountingReader(SliceReader):
    """Notes of which parts of arrays it is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, cache_megabytes=0)
        self.asked: list[tuple[int, int]] = []

    def array(self, volume_id: str, name: str) -> Any:
        return Counted(super().array(volume_id, name), self.asked)


class Counted:
    def __init__(self, array: Any, asked: list[tuple[int, int]]) -> None:
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks
        self._array, self._asked = array, asked

    def __getitem__(self, place: Any) -> Any:
        part = self._array[place]
        self._asked.append(part.shape)
        return part


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("patches")
    create_array(zarr.create_group(path / "fish.zarr"), "image", shape=SHAPE, dtype=GREY.dtype)[:] = GREY
    return path


@given(
    places=st.lists(st.tuples(*(st.integers(0, length) for length in (1, 599, 299, 600, 300))), min_size=1, max_size=4),
    megabytes=st.sampled_from([0, 1]),
)
def test_a_window_is_that_part_of_the_slice(
    folder: Path, places: list[tuple[int, int, int, int, int]], megabytes: int
) -> None:
    """Anywhere, also where it is empty, whatever was read before, kept or not."""
    reader = PatchReader(SliceReader(folder, cache_megabytes=0), cache_megabytes=megabytes)
    for number, top, left, bottom, right in places:
        window = reader.window("fish", "image", number, Rectangle(top, left, max(bottom, top), max(right, left)))
        assert np.array_equal(window, GREY[number, top : max(bottom, top), left : max(right, left)])
        assert window.dtype == np.uint16
    assert np.array_equal(reader.whole("fish", "image", 1), GREY[1])


def test_a_patch_costs_the_chunks_that_it_touches_once(folder: Path) -> None:
    """One of the slice's six chunks for a window inside it, nothing for its neighbour there, and what is missing for a
    window over two."""
    slices = CountingReader(folder)
    reader = PatchReader(slices, cache_megabytes=10)
    for top, left, bottom, right in ((10, 10, 200, 200), (0, 0, 256, 256), (200, 100, 300, 256)):
        reader.window("fish", "image", 0, Rectangle(top, left, bottom, right))
    assert slices.asked == [(CHUNK_SIDE, CHUNK_SIDE), (CHUNK_SIDE, CHUNK_SIDE)]


def test_chunks_are_forgotten_beyond_the_limit_the_oldest_first(folder: Path) -> None:
    """A slice takes 0.36 MB: the third that is asked for drives out the first of two that fill a megabyte nearly."""
    slices = CountingReader(folder)
    reader = PatchReader(slices, cache_megabytes=1)
    for number in (0, 1, 0, 1):
        assert np.array_equal(reader.whole("fish", "image", number), GREY[number])
    assert len(slices.asked) == 2
    small = PatchReader(slices, cache_megabytes=0)
    small.window("fish", "image", 0, Rectangle(5, 5, 9, 8))
    small.window("fish", "image", 0, Rectangle(5, 5, 9, 8))
    assert slices.asked[2:] == [(4, 3), (4, 3)]
