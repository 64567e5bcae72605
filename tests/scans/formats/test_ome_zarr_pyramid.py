"""Pyramids that are filled slab by slab: each slab has its own files, and the same bytes whenever it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scans.formats.ome_zarr_pyramid import Pyramid
from scans.formats.zip_stream import folder_entries
from scans.geometry import Frame, Spacing
from scans.organs import OrganMap

FRAME = Frame.from_lps(Spacing(0.3, 0.2, 0.1))
ORGANS = OrganMap.from_mapping({1: "heart", 2: "eye"})


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    voxels=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 200), st.integers(1, 9))),
    power=st.integers(0, 4),
    order=st.randoms(use_true_random=False),
)
def test_a_pyramid_is_the_same_in_whatever_order_it_is_filled(
    tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray, power: int, order: Any
) -> None:
    """Every level holds every 2^k-th voxel; a slab fills files that no other slab touches."""
    folder, slab = tmp_path_factory.mktemp("pyramid") / "a.ome.zarr", 2**power
    pyramid = Pyramid.create(folder, shape=voxels.shape, dtype=np.uint8, frame=FRAME, organs=ORGANS, slab_slices=slab)
    numbers = list(range(-(-len(voxels) // slab)))
    order.shuffle(numbers)
    seen: set[str] = set()
    for number in numbers:
        files = pyramid.write(number, voxels[number * slab : (number + 1) * slab])
        assert files == pyramid.files(number)
        assert not seen & set(files) and all((folder / file).is_file() for file in files)
        seen |= set(files)
    assert {entry.name for entry in folder_entries(folder) if not entry.name.endswith("zarr.json")} == seen
    for level, (_, array) in enumerate(sorted(zarr.open_group(folder, mode="r").arrays())):
        stride = 2**level
        np.testing.assert_array_equal(array[:], voxels[::stride, ::stride, ::stride])
    np.testing.assert_array_equal(Pyramid.open(folder).read(0, len(voxels)), voxels)


def test_a_slab_has_the_same_bytes_whenever_it_is_written(tmp_path: Path) -> None:
    """In an empty pyramid, over itself, and where nothing but background is in it, which is a file as well."""
    noise = np.random.default_rng(0).integers(0, 9, (8, 300, 200), np.uint8)
    contents = []
    for name, slabs in (("a", [noise]), ("b", [noise]), ("c", [np.zeros_like(noise), noise[::-1], noise])):
        pyramid = Pyramid.create(
            tmp_path / name, shape=(11, 300, 200), dtype=np.uint8, frame=FRAME, organs=None, slab_slices=8
        )
        for slab in slabs:
            files = pyramid.write(0, slab)
            assert files == ["0/c/0/0/0", "1/c/0/0/0", "2/c/0/0/0"]
            assert all((tmp_path / name / file).is_file() for file in files)
        contents.append([(tmp_path / name / file).read_bytes() for file in files])
    assert contents[0] == contents[1] == contents[2]


def test_a_slab_thinner_than_a_stride_fills_only_levels_that_have_its_slices(tmp_path: Path) -> None:
    """Slabs of 2 slices: slices 2 and 3 have a part of levels 0 and 1, slices 4 and 5 of level 2 too."""
    pyramid = Pyramid.create(tmp_path / "a", shape=(300, 4, 4), dtype=np.uint8, frame=FRAME, organs=None, slab_slices=2)
    assert pyramid.files(1) == ["0/c/1/0/0", "1/c/1/0/0"]
    assert pyramid.files(2) == ["0/c/2/0/0", "1/c/2/0/0", "2/c/1/0/0"]


@pytest.mark.parametrize(
    ("number", "shape"), [(0, (3, 9, 9)), (0, (4, 9, 1)), (2, (4, 9, 9)), (3, (4, 9, 9)), (-1, (4, 9, 9))]
)
def test_a_slab_that_does_not_fill_its_place_is_refused(tmp_path: Path, number: int, shape: Any) -> None:
    """Too thin, too narrow, too thick at the end, beyond the end and before the beginning."""
    pyramid = Pyramid.create(tmp_path / "a", shape=(10, 9, 9), dtype=np.uint8, frame=FRAME, organs=None, slab_slices=4)
    with pytest.raises(ValueError, match=f"slab {number} of "):
        pyramid.write(number, np.zeros(shape, np.uint8))


def test_a_slab_that_is_no_power_of_two_is_refused(tmp_path: Path) -> None:
    """Its coarser levels would not be whole."""
    with pytest.raises(ValueError, match="power of two"):
        Pyramid.create(tmp_path / "a", shape=(9, 9, 9), dtype=np.uint8, frame=FRAME, organs=None, slab_slices=6)
