"""Slabs whose coarser levels lie in deep shards: the same voxels in fewer files, wherever the writing was begun."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scans.formats.ome_zarr_pyramid import Pyramid
from scans.formats.ome_zarr_slabs import PyramidWriter
from scans.formats.reductions import Reduction
from scans.geometry import Frame, Spacing

FRAME = Frame.from_lps(Spacing(0.3, 0.2, 0.1))


def created(
    folder: Path, voxels: NDArray[np.uint8], slab: int, *, deep: bool = True, reduction: Reduction = "stride"
) -> Pyramid:
    z, y, x = voxels.shape
    return Pyramid.create(
        folder,
        shape=(z, y, x),
        dtype=np.uint8,
        frame=FRAME,
        organs=None,
        slab_slices=slab,
        reduction=reduction,
        deep_levels=deep,
    )


@pytest.mark.parametrize(
    ("depth", "slab", "reduction", "first"),
    [(270, 16, "local_mean", 9), (300, 32, "stride", 3), (257, 64, "stride", 4)],
)
def test_levels_are_the_same_wherever_it_was_begun(
    tmp_path: Path, depth: int, slab: int, reduction: Reduction, first: int
) -> None:
    """As in shallow shards, voxel by voxel; what is written from some slab on has the bytes that it has else."""
    folder = tmp_path
    voxels = np.random.default_rng(depth).integers(0, 200, (depth, 3, 2), np.uint8)
    slabs = [voxels[start : start + slab] for start in range(0, depth, slab)]
    whole = created(folder / "whole", voxels, slab, reduction=reduction)
    writer, names = PyramidWriter(whole), []
    for number, one in enumerate(slabs):
        names += writer.write(number, one)
    assert len(names) == len(set(names)) and all((folder / "whole" / name).is_file() for name in names)
    later = PyramidWriter(created(folder / "later", voxels, slab, reduction=reduction), earlier=slabs.__getitem__)
    for number in range(first, len(slabs)):
        for name in later.write(number, slabs[number]):
            assert (folder / "later" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    shallow = created(folder / "shallow", voxels, slab, deep=False, reduction=reduction)
    for number, one in enumerate(slabs):
        shallow.write(number, one)
    opened = Pyramid.open(folder / "whole")
    assert opened.deep_levels and not Pyramid.open(folder / "shallow").deep_levels
    for ours, theirs in zip(opened.levels, shallow.levels, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_shards_of_a_long_scan() -> None:
    """3000 slices in slabs of 32: a plane across y is in 94 shards of level 0, 6 of level 4."""
    files = [
        name for number in range(94) for name in Pyramid.shard_files((3000, 1000, 1000), 32, number, deep_levels=True)
    ]
    assert [sum(name.startswith(f"{level}/") for name in files) for level in range(5)] == [94, 47, 24, 12, 6]
    assert Pyramid.shard_files((3000, 1000, 1000), 32, 7, deep_levels=True)[1:] == [
        "1/c/3/0/0",
        "2/c/1/0/0",
        "3/c/0/0/0",
    ]
    assert Pyramid.shard_of(3, 32, 255, deep_levels=True) == "3/c/0/0/0"
    assert Pyramid.shard_of(3, 32, 256, deep_levels=True) == "3/c/1/0/0"
    assert Pyramid.shard_files((300, 9, 9), 4, 3, deep_levels=True) == ["0/c/3/0/0", "1/c/0/0/0"]


def test_slabs_come_in_their_order(tmp_path: Path) -> None:
    """One that is left out is named, and so are those that nobody can give."""
    voxels = np.zeros((300, 2, 2), np.uint8)
    pyramid = created(tmp_path / "a", voxels, 32)
    with pytest.raises(ValueError, match="slab 3 without those before it"):
        PyramidWriter(pyramid).write(3, voxels[96:128])
    writer = PyramidWriter(pyramid)
    writer.write(0, voxels[:32])
    with pytest.raises(ValueError, match="slab 2 where slab 1 is the next"):
        writer.write(2, voxels[64:96])
    with pytest.raises(ValueError, match="PyramidWriter"):
        pyramid.write(0, voxels[:32])
