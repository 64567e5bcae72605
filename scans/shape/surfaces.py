"""The surface of an organ as triangles in space, of the volume that its voxels have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scans.geometry import Frame, Triple

_BLUR_VOXELS = 0.7
"""Standard deviation along each axis of what smooths the steps of voxels away. Unsmoothed, a ball's area comes out 9 %
too large however fine its voxels; with this 2 % at most, and 5 % where voxels are three times as long as wide, from a
radius of 5 voxels on. With more, sheets of a single voxel would fall below one half."""
_TRUNCATED = 4
"""Standard deviations from where on the blur is 0."""
_MARGIN = 5
"""Voxels of background around what is blurred: more than it reaches, so that every surface is closed."""
_HALF = 0.5
"""Where the surface of anything large lies in the blurred mask."""
_VOLUME_ROUNDING = 0.005
"""Share by which the volume inside a surface may differ from that of its voxels."""
_MOST_STEPS = 24
"""In search of the level at which it does not; a handful is enough for all but the smallest parts."""
_SMALL_VOXELS = 512
"""Of the box of a part whose surface is kept for the next part of the same voxels: noise has thousands of them."""
_EVERY_NEIGHBOUR = np.ones((3, 3, 3), dtype=np.bool_)

_Triangles = tuple[NDArray[np.float64], NDArray[np.int32]]
"""Vertices (N, 3) in voxels z, y, x, and faces (M, 3)."""


class OrganNotThere(LookupError):
    """The labels have no voxel of the organ whose surface is asked for."""


class SurfaceLibraryMissing(ImportError):
    """What makes surfaces is not installed; the message names the extra to install."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles around an organ, in the world of its scan."""

    vertices_mm: NDArray[np.float32]
    """(N, 3): x, y, z in mm, RAS+, as the frame's affine places them. Far from the origin float32 is coarse: 1 m away
    it steps by 60 nm."""
    faces: NDArray[np.int32]
    """(M, 3): vertices of each triangle, anticlockwise for who looks at it from outside, so that normals point out."""

    @cached_property
    def area_mm2(self) -> float:
        """Of all triangles."""
        first, second, third = self._corners()
        return float(np.linalg.norm(np.cross(second - first, third - first), axis=1).sum() / 2)

    @cached_property
    def volume_mm3(self) -> float:
        """Inside a closed surface, by the divergence theorem; positive where normals point out."""
        first, second, third = self._corners()
        return float(np.einsum("ij,ij->", first, np.cross(second, third)) / 6)

    @cached_property
    def closed(self) -> bool:
        """Whether every edge of a triangle is that of exactly one other, which runs along it the other way."""
        there = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]]).astype(np.int64)
        count = len(self.vertices_mm)
        forwards, times = np.unique(there[:, 0] * count + there[:, 1], return_counts=True)
        backwards = np.unique(there[:, 1] * count + there[:, 0])
        return bool(len(there)) and bool((times == 1).all()) and np.array_equal(forwards, backwards)

    def _corners(self) -> tuple[NDArray[np.float64], ...]:
        """The first, second and third corner of each triangle, x, y, z in mm from the first vertex of all."""
        near = self.vertices_mm.astype(np.float64) - (self.vertices_mm[0] if len(self.vertices_mm) else 0)
        return tuple(near[self.faces[:, corner]] for corner in range(3))


def organ_surface(
    labels: NDArray[np.uint8], organ: int, frame: Frame, *, start: Triple = (0, 0, 0), step: int = 1
) -> Surface:
    """The surface of one organ in labels, uint8 (Z, Y, X), a whole volume or a part of one.

    `frame` is that of the whole volume, `start` the voxel of it that is the first one here, and `step` how many of its
    voxels lie between two that are neighbours here along each axis: 1, or 2^k at level k of a pyramid.

    Marching cubes (Lewiner et al. 2003, "Efficient implementation of marching cubes' cases with topological
    guarantees") on the mask, blurred by 0.7 voxels: for each part of the organ, that is voxels that touch one another
    by a face, an edge or a corner, at the level at which the volume inside is that of its voxels within half a per
    cent. So no part shrinks or is lost, a single voxel included; but a thread of one voxel may be that hangs on
    something larger. It is closed also where the organ is cut off by the border: there it ends at the outer faces of
    the outermost voxels, rounded as everywhere. Two parts with a single voxel between them may touch.
    Memory: about 20 bytes for each voxel of the organ's box.

    Raises OrganNotThere, SurfaceLibraryMissing where scikit-image is not installed, and ValueError for labels of
    another type or not in three dimensions, and for an index or a step below 1.
    """
    if labels.ndim != 3 or labels.dtype != np.uint8:
        raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}; they must be uint8 (Z, Y, X)")
    if organ < 1 or step < 1:
        raise ValueError(f"organ {organ}, step {step}; both count from 1")
    parts = list(_parts(labels, organ))
    if not parts:
        shape = " x ".join(map(str, labels.shape))
        raise OrganNotThere(f"none of the {shape} voxels (z, y, x) is of organ {organ}")
    vertices, faces = _together(parts)
    affine = frame.matrix
    places = (vertices * step + start)[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    surface = Surface(places.astype(np.float32), faces)
    if surface.volume_mm3 < 0:  # the axes of the voxels and those of the world are mirror images
        return Surface(surface.vertices_mm, np.ascontiguousarray(faces[:, ::-1]))
    return surface


def _parts(labels: NDArray[np.uint8], organ: int) -> Iterator[_Triangles]:
    """The surface of each part of an organ, in voxels of `labels`."""
    kept: dict[tuple[tuple[int, ...], bytes], _Triangles] = {}
    mask = labels == organ
    found = ndimage.find_objects(mask.view(np.uint8))
    if not found:
        return
    whole = found[0]
    numbered, _ = ndimage.label(mask[whole], structure=_EVERY_NEIGHBOUR)
    corner = np.array([box.start for box in whole])
    for number, box in enumerate(ndimage.find_objects(numbered), 1):
        part = numbered[box] == number
        known = (part.shape, part.tobytes()) if part.size <= _SMALL_VOXELS else None
        surface = (kept.get(known) if known else None) or _part_surface(part)
        if known:
            kept[known] = surface
        vertices, faces = surface
        yield vertices + (corner + [side.start for side in box]), faces


def _part_surface(part: NDArray[np.bool_]) -> _Triangles:
    """Around the voxels of a mask, (z, y, x), with the volume that they have."""
    blurred = ndimage.gaussian_filter(
        np.pad(part.astype(np.float32), _MARGIN), _BLUR_VOXELS, mode="constant", truncate=_TRUNCATED
    )
    wanted = np.count_nonzero(part)
    low, high = 0.0, float(blurred.max())
    level = _HALF if high > _HALF else high / 2
    for _ in range(_MOST_STEPS):
        vertices, faces = _marching_cubes(blurred, level)
        share = wanted / _volume(vertices, faces)
        if abs(share - 1) <= _VOLUME_ROUNDING:
            return vertices - _MARGIN, faces
        low, high = (low, level) if share > 1 else (level, high)
        level = (low + high) / 2
    centre = vertices.mean(
        axis=0
    )  # of a few voxels that meet at corners: at one level too little, at the next too much
    return centre + (vertices - centre) * share ** (1 / 3) - _MARGIN, faces


def _marching_cubes(field: NDArray[np.float32], level: float) -> _Triangles:
    try:
        from skimage.measure import marching_cubes  # noqa: PLC0415  a second, for those alone who want a surface
    except ModuleNotFoundError as error:
        raise SurfaceLibraryMissing(
            f"surfaces are made with scikit-image, and {error.name} is not installed: install ricefish[atlas], "
            "or ricefish[serving] on a server"
        ) from None
    vertices, faces, _, _ = marching_cubes(field, level)  # type: ignore[no-untyped-call]
    return vertices.astype(np.float64), faces.astype(np.int32)


def _volume(vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> float:
    """Inside, in voxels, whichever way the triangles turn."""
    first, second, third = (vertices[faces[:, corner]] for corner in range(3))
    return abs(float(np.einsum("ij,ij->", first, np.cross(second, third)) / 6))


def _together(parts: list[_Triangles]) -> _Triangles:
    firsts = np.cumsum([0, *(len(vertices) for vertices, _ in parts[:-1])])
    faces = [faces + first for (_, faces), first in zip(parts, firsts, strict=True)]
    return np.concatenate([vertices for vertices, _ in parts]), np.concatenate(faces).astype(np.int32)
