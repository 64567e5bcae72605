"""Overlays: a grey slice with its organs in colour, and grids of such pictures, for figures, reports and the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window

CONTOUR_OPACITY = 0.9
"""Contours are drawn at least this strongly, so that organs stay apart where the fill is faint."""
_BAND_PIXELS = 1 << 20
"""That are mixed at once: a pixel takes fifty bytes and more meanwhile, and a slice may have 67 million of them."""

GAP_PIXELS = 2
"""Black pixels between the pictures of a montage."""


def overlay(
    grey_slice: NDArray[Any],
    segmentation: NDArray[np.uint8],
    *,
    window: Window,
    palette: NDArray[np.uint8],
    opacity: float = 0.45,
) -> NDArray[np.uint8]:
    """A slice as grey values through the window, its organs laid over it in their colours, with stronger contours.

    `grey_slice` is (Y, X) raw grey values, `segmentation` uint8 (Y, X) class indices, `palette` uint8 (classes, 3) as
    in `OrganMap.palette`; `opacity` 0..1 is that of the fill, 0 leaves the slice grey, contours left out too.
    Gives uint8 (Y, X, 3), red, green, blue. Raises ValueError if the shapes differ or a class index has no colour.
    """
    if grey_slice.ndim != 2 or grey_slice.shape != segmentation.shape:
        raise ValueError(
            f"slice of shape {grey_slice.shape}, segmentation of {segmentation.shape}; both must be (Y, X)"
        )
    if segmentation.size and segmentation.max() >= len(palette):
        raise ValueError(f"class index {segmentation.max()} has no colour; the palette has {len(palette)}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}; it must be 0 to 1")
    picture = np.empty((*segmentation.shape, 3), dtype=np.uint8)
    height, width = segmentation.shape
    rows = max(1, _BAND_PIXELS // max(width, 1))
    for top in range(0, height, rows):
        band, above = slice(top, top + rows), min(top, 1)  # whether there is a contour is seen in the next row, too
        organs = segmentation[top - above : top + rows + 1]
        contours = _contours(organs)[above : above + rows]
        picture[band] = _mixed(
            window.normalise(grey_slice[band]), segmentation[band], contours, palette=palette, opacity=opacity
        )
    return picture


def _mixed(
    normalised: NDArray[np.float32],
    segmentation: NDArray[np.uint8],
    contours: NDArray[np.bool_],
    *,
    palette: NDArray[np.uint8],
    opacity: float,
) -> NDArray[np.uint8]:
    grey: NDArray[np.float32] = np.repeat(255 * normalised[..., np.newaxis], 3, axis=2)
    strength = np.where(segmentation > 0, np.float32(opacity), np.float32(0))
    if opacity > 0:
        strength[contours] = max(opacity, CONTOUR_OPACITY)
    mixed = grey + strength[..., np.newaxis] * (palette[segmentation].astype(np.float32) - grey)
    picture: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return picture


def montage(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """A grid of pictures, each uint8 (Y, X, 3), as one: columns line up, smaller pictures stand in black.

    Rows may be of different lengths. Raises ValueError if there is no picture.
    """
    if not any(len(row) for row in rows):
        raise ValueError("a montage needs at least one picture")
    heights = [max((picture.shape[0] for picture in row), default=0) for row in rows]
    columns = max(len(row) for row in rows)
    widths = [max(row[column].shape[1] for row in rows if column < len(row)) for column in range(columns)]
    tops = np.cumsum([0, *(height + GAP_PIXELS for height in heights)])
    lefts = np.cumsum([0, *(width + GAP_PIXELS for width in widths)])
    canvas = np.zeros((tops[-1] - GAP_PIXELS, lefts[-1] - GAP_PIXELS, 3), dtype=np.uint8)
    for top, row in zip(tops, rows, strict=False):
        for left, picture in zip(lefts, row, strict=False):
            height, width = picture.shape[:2]
            canvas[top : top + height, left : left + width] = picture
    return canvas


def _contours(segmentation: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Organ pixels with a neighbour above, below, left or right that is of another class."""
    differs = np.zeros(segmentation.shape, dtype=bool)
    down = segmentation[1:] != segmentation[:-1]
    across = segmentation[:, 1:] != segmentation[:, :-1]
    differs[1:] |= down
    differs[:-1] |= down
    differs[:, 1:] |= across
    differs[:, :-1] |= across
    return differs & (segmentation > 0)
