"""Tiles: every size of slice goes through a device that holds but the smallest tile, with the halo of scans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scans.tiling import HALO, least_tile, segment_slab
from serving.inference.memory_fallback import MemoryFallback
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.settings import SettingsError, read_settings

LEAST = 576


class Small:
    """A network whose device holds a tile of 576 x 576 pixels, and no more."""

    lanes = 1

    def __init__(self) -> None:
        self.tried: list[int] = []

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[Any], *, lane: int) -> NDArray[np.uint8]:
        self.tried.append(slices.size)
        if slices.size > LEAST * LEAST:
            raise OutOfDeviceMemory(slices.shape, "toy")
        return slices.astype(np.uint8)

    def segment_rows_with_confidence(self, *_: Any, **__: Any) -> Any:
        raise AssertionError


def grey(height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(height).integers(0, 200, (1, height, width)).astype(np.float32)


@given(height=st.integers(LEAST + 1, 1500), width=st.integers(1, 1500), bound=st.none() | st.integers(1, 1300**2))
@settings(max_examples=60)
def test_a_slice_of_any_size_is_helped(height: int, width: int, bound: int | None) -> None:
    """Out of memory or known to be too large, it comes back whole: 1000 pixels, 1026 to 1151, and all others."""
    slices, network = grey(height, width), Small()
    (answer,) = MemoryFallback().segment(
        *(network, slices, np.zeros((1, 2), np.float32)),
        lane=0,
        halo=HALO,
        confidence=False,
        look=lambda: None,
        most_pixels=bound,
    )
    np.testing.assert_array_equal(answer, slices)
    if bound is not None:
        assert max(network.tried) <= max(bound, LEAST * LEAST)


@given(tile=st.integers(LEAST, 1200), height=st.integers(1, 1500), width=st.integers(1, 1500))
@settings(max_examples=60)
def test_every_tile_that_is_accepted_is_valid_for_every_size(tile: int, height: int, width: int) -> None:
    """What RICEFISH_TILE may be cuts every slice into tiles no larger than that."""
    assert read_settings({"RICEFISH_TILE": str(tile)}, model="m", tile=tile).tile == tile
    slices = grey(height, width)

    def forward(pieces: NDArray[Any]) -> NDArray[np.uint8]:
        assert max(pieces.shape[1:]) <= tile
        return pieces.astype(np.uint8)

    np.testing.assert_array_equal(segment_slab(slices, forward, batch_size=4, tile=tile, halo=HALO), slices)


@pytest.mark.parametrize("tile", [64, 256, 512, 575])
def test_a_tile_that_holds_its_halo_alone_is_refused_at_start(tile: int) -> None:
    """The message says from where on it is right."""
    assert least_tile() == LEAST
    with pytest.raises(SettingsError, match=f"RICEFISH_TILE is {tile}: expected a number of at least {LEAST}"):
        read_settings({}, model="m", tile=tile)
