"""How much of a scan a surface is made of, and what is kept of it, on segmentations that are made by hand."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scans.checksums import file_checksums
from scans.formats.ome_zarr_pyramid import Pyramid
from scans.geometry import Box, Frame, Spacing, Triple
from scans.measures.statistics import OrganStatistics
from scans.shape.surfaces import Surface, organ_surface
from serving.segmentation import organ_surfaces
from serving.segmentation.organ_surfaces import KeptSurfaces, OrganSurfaces, SegmentedOrgans, SurfaceNotFound
from serving.segmentation.stored_segmentation import StoredSegmentation
from serving.storage import Store
from tests.serving.models import ORGANS
from tests.serving.queues import new_scan

FRAME = Frame.from_lps(Spacing(0.4, 0.3, 0.2), origin=(1, 2, 3))


@dataclasses.dataclass
class Folder:
    """A store of one result; counts what is read of it."""

    path: Path
    read: list[str] = dataclasses.field(default_factory=list)

    def read_result(self, scan_id: str, names: Collection[str]) -> dict[str, bytes]:
        self.read += names
        return {name: (self.path / name).read_bytes() for name in names}


def segmented(folder: Path, labels: NDArray[np.uint8], slab_slices: int) -> tuple[SegmentedOrgans, Folder]:
    z, y, x = labels.shape
    shape: Triple = (z, y, x)
    scan = new_scan(shape=shape, frame=FRAME, organs=ORGANS, slab_slices=slab_slices)
    pyramid = Pyramid.create(folder, shape=shape, dtype=np.uint8, frame=FRAME, organs=ORGANS, slab_slices=slab_slices)
    names = list(Pyramid.metadata_files(shape))
    for number, box in enumerate(scan.boxes):
        names += pyramid.write(number, labels[box.slices])
    store = Folder(folder)
    voxels = StoredSegmentation(cast("Store", store), scan, file_checksums(folder, names))
    store.read.clear()
    statistics = OrganStatistics.of(labels, box=Box.of_shape(shape), classes=3)
    return SegmentedOrgans(scan, statistics, voxels), store


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[NDArray[np.uint8], SegmentedOrgans]]:
    """The same labels in slabs of 2, 16 and 64 slices, in pyramids of three levels."""
    labels = np.random.default_rng(3).integers(0, 3, (70, 33, 300)).astype(np.uint8)
    return {depth: (labels, segmented(tmp_path_factory.mktemp("noise"), labels, depth)[0]) for depth in (2, 16, 64)}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([2, 16, 64]), st.sampled_from([1, 2, 4, 8, 16]))
def test_strided_reading_finds_every_voxel_of_the_grid_in_the_box(
    noise: dict[int, tuple[NDArray[np.uint8], SegmentedOrgans]], data: st.DataObject, depth: int, step: int
) -> None:
    """Those whose indices are multiples of the step, also beyond the coarsest level; none where there are none."""
    labels, scan = noise[depth]
    ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in labels.shape]
    box = Box(*zip(*ends, strict=True))  # type: ignore[arg-type]
    expected = labels[tuple(slice(-(-a // step) * step, b, step) for a, b in ends)]
    np.testing.assert_array_equal(scan.voxels.strided(box, step), expected)


def ball(shape: Triple, centre: Triple, radius: float) -> NDArray[np.bool_]:
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    mask: NDArray[np.bool_] = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2
    return mask


def two_balls() -> NDArray[np.uint8]:
    labels = np.zeros((64, 64, 140), np.uint8)
    labels[ball((64, 64, 140), (30, 32, 40), 20)] = 1
    labels[ball((64, 64, 140), (50, 32, 110), 6)] = 2
    return labels


def bounds(fragment: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    (count,) = struct.unpack("<I", fragment[:4])
    vertices = np.frombuffer(fragment, "<f4", 3 * count, 4).reshape(-1, 3)
    return vertices.min(axis=0) / 1e6, vertices.max(axis=0) / 1e6


def test_only_the_slabs_of_the_organ_are_read(tmp_path: Path) -> None:
    """The eye is in slices 44 to 56: of eight slabs of eight slices three are read, at the finest level."""
    scan, store = segmented(tmp_path, two_balls(), 8)
    OrganSurfaces().file(scan, "eye", "stl")
    assert sorted(store.read) == ["0/c/5/0/0", "0/c/6/0/0", "0/c/7/0/0"]


def test_made_surfaces_are_kept(tmp_path: Path) -> None:
    """Whoever asks again, for whichever format, has nothing read."""
    scan, store = segmented(tmp_path, two_balls(), 8)
    surfaces = OrganSurfaces()
    surfaces.file(scan, "heart", "glb")
    store.read.clear()
    surfaces.file(scan, "1", "neuroglancer")
    assert store.read == []


def test_large_organ_is_made_of_a_coarser_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for 20,000 voxels a box of 41 x 41 x 41 is read at every second one, and lies in the same place."""
    scan, store = segmented(tmp_path, two_balls(), 8)
    fine = bounds(OrganSurfaces().file(scan, "heart", "neuroglancer"))
    store.read.clear()
    monkeypatch.setattr(organ_surfaces, "_MOST_VOXELS", 20_000)
    coarse = bounds(OrganSurfaces().file(scan, "heart", "neuroglancer"))
    assert {name.partition("/")[0] for name in store.read} == {"1"}
    for one, other in zip(fine, coarse, strict=True):
        np.testing.assert_allclose(one, other, atol=0.4)


def test_surface_of_many_triangles_is_made_coarser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for a quarter of its sides a ball has about a quarter of the triangles, in the same place."""
    scan, _ = segmented(tmp_path, two_balls(), 8)
    fine = OrganSurfaces().file(scan, "heart", "neuroglancer")
    monkeypatch.setattr(organ_surfaces, "_MOST_FACES", 3000)
    coarse = OrganSurfaces().file(scan, "heart", "neuroglancer")
    assert 0.15 < len(coarse) / len(fine) < 0.35
    for one, other in zip(bounds(fine), bounds(coarse), strict=True):
        np.testing.assert_allclose(one, other, atol=0.4)


def test_what_no_coarse_voxel_holds_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two specks at odd indices, far apart: no room for all of their box, and none at every second."""
    labels = np.zeros((64, 64, 140), np.uint8)
    labels[1, 1, 1] = labels[63, 63, 139] = 1
    scan, _ = segmented(tmp_path, labels, 8)
    monkeypatch.setattr(organ_surfaces, "_MOST_VOXELS", 100_000)
    with pytest.raises(SurfaceNotFound, match=r"heart is so thin and so far spread .* among every 2 voxels"):
        OrganSurfaces().file(scan, "heart", "stl")


def body() -> Surface:
    return organ_surface(np.ones((3, 3, 3), np.uint8), 1, FRAME)


def test_kept_surfaces_stay_within_their_room() -> None:
    """Room for two: the third lets go of the one that was not asked for; one that is too large is not kept."""
    size = body().vertices_mm.nbytes + body().faces.nbytes
    kept = KeptSurfaces(2 * size)
    first, second, third = (("scan", index, 1) for index in (1, 2, 3))
    kept.put(first, body())
    kept.put(second, body())
    assert kept.get(first) is not None
    kept.put(third, body())
    assert [kept.get(key) is not None for key in (first, second, third)] == [True, False, True]
    small: Any = KeptSurfaces(size - 1)
    small.put(first, body())
    assert small.get(first) is None
