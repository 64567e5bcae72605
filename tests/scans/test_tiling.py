"""Tiling: stitched answers are those of whole slices, and every voxel is written exactly once."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from scans.geometry import Box, Spacing
from scans.tiling import segment, segment_slab
from scans.volume import Volume


def identity(tiles: NDArray[Any]) -> NDArray[np.uint8]:
    return tiles.astype(np.uint8)


def above_mean(radius: int) -> Any:
    """A forward that looks `radius` pixels far: is the mean around a pixel, zeros outside, above 100?"""

    def forward(tiles: NDArray[Any]) -> NDArray[np.uint8]:
        side = 2 * radius + 1
        total = ndimage.convolve(tiles.astype(np.int64), np.ones((1, side, side), np.int64), mode="constant")
        return (total > 100 * side * side).astype(np.uint8)

    return forward


def random_slab(seed: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_four_by_four_in_tiles_of_two() -> None:
    """A 4 x 4 slice in tiles of 2 without halo: each tile answers with its number, in the order of reading."""
    numbers = iter(range(1, 5))

    def forward(tiles: NDArray[Any]) -> NDArray[np.uint8]:
        return np.stack([np.full(tile.shape, next(numbers), np.uint8) for tile in tiles])

    stitched = segment_slab(np.zeros((1, 4, 4), np.int16), forward, batch_size=1, tile=2, stride=1)

    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(stitched[0], expected)


def test_halo_is_dropped_inside_and_kept_at_the_border() -> None:
    """A 6 x 6 slice in tiles of 4 with halo 1: the inner rim of each tile is wrong, and none of it comes back."""

    def forward(tiles: NDArray[Any]) -> NDArray[np.uint8]:
        answer = tiles.astype(np.uint8)
        for tile, truth in zip(answer, tiles, strict=True):
            tile[:, 3 if truth[0, 0] % 6 == 0 else 0] = 99  # a left tile: its right column is halo
            tile[3 if truth[0, 0] < 6 else 0] = 99  # an upper tile: its lower row is halo
        return answer

    slab = np.arange(36, dtype=np.int32).reshape(1, 6, 6)
    np.testing.assert_array_equal(segment_slab(slab, forward, batch_size=3, tile=4, halo=1, stride=1), slab)


def test_tiles_begin_where_the_stride_allows() -> None:
    """11 pixels in tiles of 8 with stride 2 and halo 2: the second begins at 4, which is even, and ends the slice."""
    seen: list[list[int]] = []

    def forward(tiles: NDArray[Any]) -> NDArray[np.uint8]:
        seen.extend(tile[0].tolist() for tile in tiles)
        return np.full(tiles.shape, len(seen), np.uint8)

    stitched = segment_slab(np.arange(11).reshape(1, 1, 11), forward, batch_size=1, tile=8, halo=2, stride=2)

    assert seen == [[0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 8, 9, 10]]
    assert stitched.tolist() == [[[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]]]


def test_slices_that_fit_are_not_cut() -> None:
    """A slice no larger than a tile reaches the network whole, in batches of at most `batch_size`."""
    shapes: list[tuple[int, ...]] = []

    def forward(slices: NDArray[Any]) -> NDArray[np.uint8]:
        shapes.append(slices.shape)
        return identity(slices)

    slab = random_slab(0, (5, 6, 8))
    np.testing.assert_array_equal(segment_slab(slab, forward, batch_size=2, tile=8, halo=3, stride=1), slab)
    assert shapes == [(2, 6, 8), (2, 6, 8), (1, 6, 8)]


@given(
    shape=st.tuples(st.integers(0, 4), st.integers(1, 40), st.integers(1, 40)),
    more=st.integers(0, 12),
    halo=st.integers(0, 5),
    stride=st.integers(1, 4),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_tiles_cover_every_voxel_once(
    shape: tuple[int, int, int], more: int, halo: int, stride: int, batch_size: int, seed: int
) -> None:
    """For a pointwise network tiling changes nothing, and no tile is larger than was allowed."""
    tile = 2 * (halo + stride) + more
    slab = random_slab(seed, shape)

    def forward(tiles: NDArray[Any]) -> NDArray[np.uint8]:
        assert len(tiles) <= batch_size and max(tiles.shape[1:]) <= tile
        return identity(tiles)

    stitched = segment_slab(slab, forward, batch_size=batch_size, tile=tile, halo=halo, stride=stride)
    np.testing.assert_array_equal(stitched, slab)


def pyramid_network(tiles: NDArray[Any]) -> NDArray[np.uint8]:
    """Pools by 4 what it padded to a multiple of 4, smooths the pooled grid, and brings it back: like a small U-Net."""
    _, height, width = tiles.shape
    padded = np.pad(tiles.astype(np.int64), ((0, 0), (0, -height % 4), (0, -width % 4)), mode="edge")
    pooled = padded.reshape(len(tiles), padded.shape[1] // 4, 4, padded.shape[2] // 4, 4).sum(axis=(2, 4))
    smooth = ndimage.convolve(pooled, np.ones((1, 3, 3), np.int64), mode="constant")
    coarse = smooth.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    return (tiles.astype(np.int64) * 144 > coarse).astype(np.uint8)


@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 70), st.integers(1, 70)),
    more=st.integers(0, 20),
    seed=st.integers(0, 9),
)
def test_a_network_that_halves_its_input_answers_the_same_in_tiles(
    shape: tuple[int, int, int], more: int, seed: int
) -> None:
    """Tiles lie on its grid of 4 pixels, so with a halo of two grid cells nothing differs, borders included."""
    slab = random_slab(seed, shape)
    tiled = segment_slab(slab, pyramid_network, batch_size=3, tile=24 + more, halo=8, stride=4)
    np.testing.assert_array_equal(tiled, pyramid_network(slab))


def test_a_stride_that_is_ignored_shows() -> None:
    """The same network with tiles off its grid differs, so the agreement above is the stride's doing."""
    slab = random_slab(1, (1, 70, 70))
    assert (segment_slab(slab, pyramid_network, batch_size=3, tile=27, halo=9, stride=1) != pyramid_network(slab)).any()


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    more=st.integers(0, 8),
    radius=st.integers(0, 3),
    batch_size=st.integers(1, 20),
    seed=st.integers(0, 9),
)
def test_a_halo_as_wide_as_the_network_sees_gives_the_whole_slice_answer(
    shape: tuple[int, int, int], more: int, radius: int, batch_size: int, seed: int
) -> None:
    """With a receptive field within the halo, tiled and whole answers agree everywhere, borders included."""
    slab, forward = random_slab(seed, shape), above_mean(radius)

    tiled = segment_slab(slab, forward, batch_size=batch_size, tile=2 + more + 2 * radius, halo=radius, stride=1)

    np.testing.assert_array_equal(tiled, forward(slab))


def test_a_halo_that_is_too_narrow_shows() -> None:
    """The same network with a halo one pixel short differs, so the agreement above is the halo's doing."""
    slab, forward = random_slab(3, (2, 20, 20)), above_mean(3)

    assert (segment_slab(slab, forward, batch_size=4, tile=9, halo=2, stride=1) != forward(slab)).any()


@given(slab_slices=st.integers(1, 9), batch_size=st.integers(1, 9))
def test_volumes_are_segmented_upwards_whatever_the_slab(slab_slices: int, batch_size: int) -> None:
    """Boxes follow one another from the lowest slice to the highest, and together give the whole answer."""
    grey = random_slab(1, (7, 6, 5))
    volume, forward = Volume.from_array(grey, Spacing(1, 1, 1)), above_mean(1)

    parts = list(segment(volume, forward, slab_slices=slab_slices, batch_size=batch_size, tile=4, halo=1, stride=1))

    starts = range(0, 7, slab_slices)
    assert [box for box, _ in parts] == [Box((z, 0, 0), (min(z + slab_slices, 7), 6, 5)) for z in starts]
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), forward(grey))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 1, "tile": 69, "halo": 3}, "twice as wide as halo and stride together"),
        ({"batch_size": 1, "stride": 0}, "stride is 0"),
        ({"batch_size": 1, "halo": -1}, "halo is -1"),
    ],
)
def test_impossible_requests_are_refused(request_: dict[str, int], message: str) -> None:
    """Numbers that no grid can be made of are refused by name."""
    with pytest.raises(ValueError, match=message):
        segment_slab(np.zeros((1, 8, 8)), identity, **request_)


def test_a_single_slice_without_its_axis_is_refused() -> None:
    """A 2-D array is not a slab, and is not taken for one."""
    with pytest.raises(ValueError, match="3 axes"):
        segment_slab(np.zeros((8, 8)), identity, batch_size=1)


@pytest.mark.parametrize("answer", [np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 7), np.uint8)])
def test_an_answer_of_another_kind_is_refused(answer: NDArray[Any]) -> None:
    """A network that gives floats, or another shape, is caught instead of being cast or broadcast."""
    with pytest.raises(ValueError, match=r"expected uint8 of the same shape"):
        segment_slab(np.zeros((1, 8, 8)), lambda _: answer, batch_size=1)
