"""Pyramids that are filled slab by slab: each slab has its own files, and the same bytes whenever it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from scans.formats.ome_zarr_pyramid import Pyramid, show_window
from scans.formats.reductions import reduced
from scans.formats.zip_stream import folder_entries
from scans.geometry import Frame, Spacing
from scans.intensity import Window
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


def test_levels_of_grey_values_are_means(tmp_path: Path) -> None:
    """Of 2 x 2 x 2 where there are so many: 0 to 7 give 3.5, which is 4; of a last column, of what there is."""
    voxels = np.zeros((4, 300, 3), np.uint16)
    voxels[:2, :2, :2] = np.arange(8).reshape(2, 2, 2)
    voxels[2:, 4, 2] = 10
    pyramid = Pyramid.create(
        tmp_path, shape=voxels.shape, dtype=np.uint16, frame=FRAME, organs=None, slab_slices=2, reduction="local_mean"
    )
    for number in (1, 0):
        pyramid.write(number, voxels[2 * number : 2 * number + 2])
    half = np.asarray(Pyramid.open(tmp_path).levels[1])
    assert half.shape == (2, 150, 2)
    assert (half[0, 0, 0], half[1, 2, 1], half.sum()) == (4, 5, 9)
    np.testing.assert_array_equal(np.asarray(pyramid.levels[0]), voxels)


@settings(max_examples=50, deadline=None)
@given(
    block=arrays(
        st.sampled_from(["u1", "i2", "u4", "f4", "f8"]),
        array_shapes(min_dims=3, max_dims=3, max_side=7),
        elements={"min_value": 0, "max_value": 99, "allow_nan": False},
    )
)
def test_a_mean_is_numpys(block: np.ndarray) -> None:
    """Within a rounding, whatever the type and the sides."""
    means = reduced(block, "local_mean")
    padded = np.pad(block.astype(float), [(0, side % 2) for side in block.shape], mode="edge")
    z, y, x = (side // 2 for side in padded.shape)
    expected = padded.reshape(z, 2, y, 2, x, 2).mean((1, 3, 5))
    assert means.dtype == block.dtype
    np.testing.assert_allclose(means, expected, rtol=1e-6, atol=0.5 if block.dtype.kind in "iu" else 1e-9)


@pytest.mark.parametrize("along", [0, 1, 2])
def test_a_plane_is_that_of_the_volume(along: int, tmp_path: Path) -> None:
    """Across each axis; across y and x also of some slices only."""
    voxels = np.random.default_rng(0).integers(0, 99, (7, 70, 130), np.uint8)
    pyramid = Pyramid.create(tmp_path, shape=voxels.shape, dtype=np.uint8, frame=FRAME, organs=None, slab_slices=4)
    for number in (0, 1):
        pyramid.write(number, voxels[4 * number : 4 * number + 4])
    np.testing.assert_array_equal(pyramid.plane(along, 5), voxels.take(5, along))
    if along:
        np.testing.assert_array_equal(pyramid.plane(along, 5, start=4), voxels[4:].take(5, along))


def test_a_flipped_bit_of_a_chunk_is_found(tmp_path: Path) -> None:
    """By its own checksum, whoever reads it; Zarr alone would hand out other voxels."""
    pyramid = Pyramid.create(tmp_path, shape=(4, 64, 64), dtype=np.uint8, frame=FRAME, organs=None, slab_slices=4)
    pyramid.write(0, np.random.default_rng(0).integers(0, 200, (4, 64, 64), np.uint8))
    shard = tmp_path / "0/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(RuntimeError, match="checksum"):
        Pyramid.open(tmp_path).read(0, 4)


def test_the_window_of_a_scan_is_stated_for_viewers(tmp_path: Path) -> None:
    """As OMERO's metadata, beside what was there."""
    Pyramid.create(tmp_path, shape=(4, 4, 4), dtype=np.uint8, frame=FRAME, organs=None, slab_slices=4)
    before = zarr.open_group(tmp_path, mode="r").attrs.asdict()
    show_window(tmp_path, Window(3.0, 70.0))
    ome = zarr.open_group(tmp_path, mode="r").attrs.asdict()
    assert ome["ome"].pop("omero")["channels"][0]["window"] == {"min": 3.0, "max": 70.0, "start": 3.0, "end": 70.0}
    assert ome == before
