from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from scans.geometry import Frame, Spacing
from scans.shape.surfaces import OrganNotThere, Surface, SurfaceLibraryMissing, organ_surface

PLAIN = Frame.from_affine(np.eye(4))


def ball(radius_mm: float, spacing: Spacing) -> tuple[NDArray[np.uint8], tuple[float, float, float]]:
    """Organ 1, a ball, and the voxel z, y, x that is its centre."""
    counts = [math.ceil(radius_mm / step) + 2 for step in spacing]
    z, y, x = np.meshgrid(
        *[np.arange(-n, n + 1) * step for n, step in zip(counts, spacing, strict=True)], indexing="ij"
    )
    labels = (z**2 + y**2 + x**2 <= radius_mm**2).astype(np.uint8)
    return labels, (float(counts[0]), float(counts[1]), float(counts[2]))


def read_by_trimesh(surface: Surface) -> trimesh.Trimesh:
    mesh = trimesh.Trimesh(surface.vertices_mm.astype(float), surface.faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent
    return mesh


@pytest.mark.parametrize(
    ("radius_mm", "spacing", "tolerance"),
    [
        (10.0, Spacing(1, 1, 1), 0.02),
        (20.0, Spacing(1, 1, 1), 0.02),
        (0.1, Spacing(0.01, 0.01, 0.01), 0.02),
        (20.0, Spacing(3, 1, 1), 0.05),
        (20.0, Spacing(1, 1, 2), 0.05),
    ],
)
def test_ball_has_the_area_and_volume_of_a_ball(radius_mm: float, spacing: Spacing, tolerance: float) -> None:
    """4 pi r2 within a few per cent, the volume of its voxels within 1 %, its centre in place, by trimesh too."""
    labels, centre = ball(radius_mm, spacing)
    frame = Frame.from_lps(spacing, origin=(5.0, -7.0, 11.0))
    surface = organ_surface(labels, 1, frame)
    assert surface.closed
    assert surface.area_mm2 == pytest.approx(4 * math.pi * radius_mm**2, rel=tolerance)
    assert surface.volume_mm3 == pytest.approx(np.count_nonzero(labels) * spacing.voxel_mm3, rel=0.01)
    mesh = read_by_trimesh(surface)
    assert mesh.volume == pytest.approx(surface.volume_mm3, rel=1e-3)
    assert mesh.area == pytest.approx(surface.area_mm2, rel=1e-3)
    np.testing.assert_allclose(mesh.center_mass, frame.world_mm(centre), atol=min(spacing) / 10)


def test_box_lies_where_its_voxels_do() -> None:
    """Voxels 2..9, 3..12, 4..15 of 2 x 1 x 0.5 mm reach half a voxel beyond the outermost centres."""
    labels = np.zeros((14, 18, 22), np.uint8)
    labels[2:10, 3:13, 4:16] = 7
    surface = organ_surface(labels, 7, Frame.from_affine(np.diag([0.5, 1.0, 2.0, 1.0])))
    in_voxels = surface.vertices_mm / np.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(in_voxels.min(axis=0), [3.5, 2.5, 1.5], atol=0.1)
    np.testing.assert_allclose(in_voxels.max(axis=0), [15.5, 12.5, 9.5], atol=0.1)
    assert surface.volume_mm3 == pytest.approx(16 * 10 * 6, rel=0.01)
    assert surface.area_mm2 == pytest.approx(2 * (16 * 10 + 16 * 6 + 10 * 6), rel=0.1)  # edges are rounded
    assert surface.vertices_mm.dtype == np.float32 and surface.faces.dtype == np.int32


@pytest.mark.parametrize(
    "axes",
    [
        np.eye(3),
        np.diag([-1.0, -1.0, 1.0]),
        np.diag([-1.0, 1.0, 1.0]),
        np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0], [0.0, -0.5, 0.0]]),
        np.array([[1.0, 0.3, 0.0], [0.0, 1.0, -0.2], [0.1, 0.0, 1.5]]),
    ],
    ids=["RAS", "LPS", "left-handed", "permuted", "sheared"],
)
def test_normals_point_outwards_whatever_the_axes(axes: NDArray[np.float64]) -> None:
    """Volume comes out positive, by trimesh too, and the centre where the affine puts it."""
    labels, centre = ball(6, Spacing(1, 1, 1))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, (1.0, 2.0, 3.0)
    frame = Frame.from_affine(matrix)
    surface = organ_surface(labels, 1, frame)
    mesh = read_by_trimesh(surface)
    assert mesh.volume == pytest.approx(np.count_nonzero(labels) * frame.voxel_mm3, rel=0.01)
    np.testing.assert_allclose(mesh.center_mass, frame.world_mm(centre), atol=0.05)


def test_organ_at_the_border_is_closed_there() -> None:
    """An organ that fills its volume ends at the outer faces of the outermost voxels."""
    surface = organ_surface(np.full((8, 9, 10), 2, np.uint8), 2, PLAIN)
    read_by_trimesh(surface)
    assert surface.closed and surface.volume_mm3 == pytest.approx(720, rel=0.01)
    np.testing.assert_allclose(surface.vertices_mm.min(axis=0), -0.5, atol=0.15)
    np.testing.assert_allclose(surface.vertices_mm.max(axis=0), [9.5, 8.5, 7.5], atol=0.15)


def test_single_voxel_is_not_lost() -> None:
    """One voxel of 1 x 2 x 4 mm has a closed surface of 8 mm3 around its centre."""
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[2, 1, 0] = 3
    surface = organ_surface(labels, 3, Frame.from_affine(np.diag([1.0, 2.0, 4.0, 1.0])))
    assert surface.closed and surface.volume_mm3 == pytest.approx(8, rel=0.01)
    np.testing.assert_allclose(read_by_trimesh(surface).center_mass, [0, 2, 8], atol=1e-3)


def test_each_component_keeps_its_volume() -> None:
    """A box of 1000 voxels and two of one each, alike: three bodies of 1000, 1 and 1 mm3."""
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:12, 2:12, 2:12] = 1
    labels[17, 17, 17] = labels[17, 3, 17] = 1
    bodies = read_by_trimesh(organ_surface(labels, 1, PLAIN)).split()
    assert sorted(body.volume for body in bodies) == pytest.approx([1, 1, 1000], rel=0.01)
    places = sorted(tuple(body.center_mass.round(2)) for body in bodies)
    assert places == [(6.5, 6.5, 6.5), (17, 3, 17), (17, 17, 17)]


def test_sheet_of_one_voxel_on_a_body_stays() -> None:
    """A fin one voxel thick reaches as far from its body as its voxels do."""
    labels = np.zeros((20, 20, 40), np.uint8)
    labels[2:18, 2:18, 2:18] = 1
    labels[10, 4:16, 18:36] = 1
    assert organ_surface(labels, 1, PLAIN).vertices_mm[:, 0].max() > 34.5


def test_part_of_a_coarser_level_lies_where_it_is_in_the_whole() -> None:
    """Every second voxel of a part that begins at voxel 4, 8, 12 gives the same place and about the same volume."""
    labels, centre = ball(12, Spacing(1, 1, 1))
    whole = np.zeros((60, 60, 60), np.uint8)
    whole[4 : 4 + len(labels), 8 : 8 + len(labels), 12 : 12 + len(labels)] = labels
    frame = Frame.from_lps(Spacing(0.5, 0.5, 0.5), origin=(1, 2, 3))
    coarse = organ_surface(whole[4::2, 8::2, 12::2], 1, frame, start=(4, 8, 12), step=2)
    expected = frame.world_mm((centre[0] + 4, centre[1] + 8, centre[2] + 12))
    np.testing.assert_allclose(read_by_trimesh(coarse).center_mass, expected, atol=0.1)
    assert coarse.volume_mm3 == pytest.approx(np.count_nonzero(labels) / 8, rel=0.05)


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, (5, 6, 7), elements=st.integers(0, 1)))
def test_any_mask_is_closed_with_the_volume_of_its_voxels(labels: NDArray[np.uint8]) -> None:
    """Noise, too, becomes closed surfaces that together hold what its voxels hold."""
    labels[2, 3, 4] = 1
    surface = organ_surface(labels, 1, PLAIN)
    read_by_trimesh(surface)
    assert surface.closed
    assert surface.volume_mm3 == pytest.approx(np.count_nonzero(labels), rel=0.01)


def test_open_surface_is_not_closed() -> None:
    """A surface without one of its triangles, and none at all, are not closed."""
    labels, _ = ball(3, Spacing(1, 1, 1))
    whole = organ_surface(labels, 1, PLAIN)
    assert whole.closed
    assert not Surface(whole.vertices_mm, whole.faces[1:]).closed
    assert not Surface(whole.vertices_mm, whole.faces[:0]).closed


def test_organ_that_is_not_there_is_said_so() -> None:
    """The message has the organ and what was looked through."""
    with pytest.raises(OrganNotThere, match=r"none of the 2 x 3 x 4 voxels .* organ 5"):
        organ_surface(np.ones((2, 3, 4), np.uint8), 5, PLAIN)


@pytest.mark.parametrize(
    ("labels", "organ", "step", "said"),
    [
        (np.zeros((2, 3), np.uint8), 1, 1, "must be uint8"),
        (np.zeros((2, 3, 4), np.int32), 1, 1, "must be uint8"),
        (np.zeros((2, 3, 4), np.uint8), 0, 1, "count from 1"),
        (np.zeros((2, 3, 4), np.uint8), 1, 0, "count from 1"),
    ],
)
def test_what_is_no_labels_is_refused(labels: NDArray[np.uint8], organ: int, step: int, said: str) -> None:
    """Background has no surface, floats have no classes."""
    with pytest.raises(ValueError, match=said):
        organ_surface(labels, organ, PLAIN, step=step)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not installed scikit-image is told what to install."""
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(SurfaceLibraryMissing, match=r"install ricefish\[atlas\]"):
        organ_surface(np.ones((2, 3, 4), np.uint8), 1, PLAIN)
