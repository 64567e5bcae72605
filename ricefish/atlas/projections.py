"""Pictures of a fish: its labels projected along the axes of its body, in the colours of its organs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ricefish.atlas.records import FishPictures
from scans.organs import OrganMap
from scans.shape.body_axes import BodyAxes
from scans.shape.morphometry import FishShape, is_body
from scans.volume import Volume

_MOST_PIXELS = 420
"""Along the longest side of a picture."""
_MOST_VOXELS = 12_000_000
"""Of the grid along the body's axes that is projected."""
_FARTHEST = 0.45
"""By which what lies farthest is darkened."""
_BODY_GREY, _BODY_OPACITY = 128, 56
_SMOOTHED_PIXELS = 1.2
"""Of depths, before their slopes are shaded."""

_View = tuple[tuple[int, int, int], tuple[bool, bool]]
_VIEWS: Mapping[str, _View] = {
    "side": ((1, 2, 0), (True, True)),
    "top": ((2, 1, 0), (False, True)),
    "front": ((0, 2, 1), (True, False)),
}
"""Of head, left and back, the axis from whose upper end one looks, and those that become rows and columns; whether
these begin at their upper ends."""


def projections(fish: FishShape, organs: OrganMap) -> FishPictures:
    """Three pictures of what is nearest to the eye, darker the farther it is; the body is a shade behind its organs.

    Made from the sample of the labels, on a grid of equal steps along the body's axes, by nearest voxel.
    """
    grid, step = _along_body(fish.sample, fish.axes)
    bodies = [organ.index for organ in organs.organs if is_body(organ.name)]
    whole = grid > 0
    grid[np.isin(grid, bodies)] = 0
    palette = organs.palette.astype(np.float32)
    pictures = {name: _png(_drawn(grid, whole, palette, view)) for name, view in _VIEWS.items()}
    length, width, height = (side * step for side in grid.shape)
    return FishPictures(**pictures, length_mm=length, width_mm=width, height_mm=height)


def _along_body(sample: Volume, axes: BodyAxes) -> tuple[NDArray[np.uint8], float]:
    """The labels on a grid towards head, left and back, uint8 (H, L, B), and its step in mm."""
    labels = sample.read()
    z, y, x = (index.astype(np.float32) for index in np.nonzero(labels))
    affine = sample.frame.matrix
    turn = axes.matrix @ affine[:3, :3]
    offset = axes.matrix @ (affine[:3, 3] - axes.centre_mm)
    ranges = [
        (float(np.min(own)) - margin, float(np.max(own)) + margin)
        for row, first in zip(turn, offset, strict=True)
        for own, margin in [(row[0] * x + row[1] * y + row[2] * z + first, max(sample.spacing))]
    ]
    sides = np.array([stop - start for start, stop in ranges])
    step = max(min(sample.spacing), sides.max() / _MOST_PIXELS, (sides.prod() / _MOST_VOXELS) ** (1 / 3))
    head, left, back = (start + step * (np.arange(max(1, int((stop - start) / step))) + 0.5) for start, stop in ranges)
    to_index = np.linalg.inv(turn)
    grid = np.zeros((len(head), len(left), len(back)), np.uint8)
    for number, along in enumerate(head):
        own = np.stack(np.broadcast_arrays(along, left[:, None], back[None, :])) - offset[:, None, None]
        i, j, k = np.rint(np.einsum("ab,blh->alh", to_index, own)).astype(np.intp)
        inside = (i >= 0) & (j >= 0) & (k >= 0) & (k < labels.shape[0]) & (j < labels.shape[1]) & (i < labels.shape[2])
        grid[number][inside] = labels[k[inside], j[inside], i[inside]]
    return grid, float(step)


def _drawn(
    grid: NDArray[np.uint8], whole: NDArray[np.bool_], palette: NDArray[np.float32], view: _View
) -> NDArray[np.uint8]:
    """Red, green, blue and opacity, uint8 (rows, columns, 4)."""
    from scipy import ndimage  # noqa: PLC0415  half a second that a client does not need

    order, downwards = view
    seen = np.flip(np.transpose(grid, order), axis=0)  # nearest first
    shade = np.transpose(whole, order).any(axis=0)
    depth = (seen > 0).argmax(axis=0)
    label = np.take_along_axis(seen, depth[None], axis=0)[0]
    there = label > 0
    smooth = ndimage.gaussian_filter(np.where(there, depth, len(seen)).astype(np.float32), _SMOOTHED_PIXELS)
    slopes = [np.gradient(smooth, axis=way) if smooth.shape[way] > 1 else 0 * smooth for way in (0, 1)]
    facing = 1 / np.sqrt(1 + 0.25 * (slopes[0] ** 2 + slopes[1] ** 2))
    light = (0.55 + 0.45 * facing) * (1 - _FARTHEST * depth / len(seen))
    picture = np.zeros((*label.shape, 4), np.uint8)
    picture[shade] = (_BODY_GREY, _BODY_GREY, _BODY_GREY, _BODY_OPACITY)
    picture[there, :3] = (palette[label[there]] * light[there, None]).round()
    picture[there, 3] = 255
    for way, down in enumerate(downwards):
        picture = np.flip(picture, axis=way) if down else picture
    return np.ascontiguousarray(picture)


def _png(picture: NDArray[np.uint8]) -> bytes:
    import imagecodecs  # noqa: PLC0415  as above

    return bytes(imagecodecs.png_encode(picture, level=9))
