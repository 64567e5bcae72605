"""Pictures: a slice as PNG in its true proportions, with a scale bar and a legend of the organs on demand."""

from __future__ import annotations

import io
import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window
from scans.organs import OrganMap
from scans.overlay import overlay

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

MOST_PIXELS = 4096
"""A side is not enlarged beyond this many pixels for the sake of proportions; the other is made smaller instead."""

_MARGIN = 8
_LINE = 18
_SWATCH = 12
_TEXT_PIXELS = 12
_PAPER, _INK = (11, 15, 20), (228, 231, 235)
_BAR_SHARE = 0.4
"""Of the picture's width, what the bar takes at most."""
_UNITS = ((1.0, "mm"), (1e-3, "um"), (1e-6, "nm"))


@dataclass(frozen=True)
class PictureStyle:
    """What a picture shows beside the slice."""

    opacity: float
    """Of the organs' colour, 0 to 1; 0: the slice alone."""
    scale_bar: bool
    """Below the slice, a bar with its length."""
    legend: bool
    """Beside the slice, the colour and name of every organ of the model."""


def png(
    grey: NDArray[Any],
    segmentation: NDArray[np.uint8],
    *,
    spacing_mm: tuple[float, float],
    window: Window,
    organs: OrganMap,
    style: PictureStyle,
) -> bytes:
    """`grey` is a slice of raw grey values, `segmentation` its class indices, both (rows, columns) with that spacing.

    The finer axis has a pixel for each voxel, the coarser one repeats its voxels.
    """
    from PIL import Image  # noqa: PLC0415  only pictures need it

    colours = overlay(grey, segmentation, window=window, palette=organs.palette, opacity=style.opacity)
    rows, columns, pixel_mm = proportions(colours.shape[:2], spacing_mm)
    for axis, pixels in enumerate((rows, columns)):
        if pixels != colours.shape[axis]:
            colours = colours.take(_nearest(pixels, colours.shape[axis]), axis)
    picture = Image.fromarray(colours)
    if style.scale_bar:
        picture = _with_bar(picture, pixel_mm)
    if style.legend:
        picture = _with_legend(picture, organs)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def proportions(shape: tuple[int, ...], spacing_mm: tuple[float, float]) -> tuple[int, int, float]:
    """Rows and columns of a picture of a slice with this shape and spacing, and the mm that a pixel stands for."""
    sides = [count * step for count, step in zip(shape, spacing_mm, strict=True)]
    pixel_mm = max(min(spacing_mm), *(side / max(MOST_PIXELS, count) for side, count in zip(sides, shape, strict=True)))
    rows, columns = (max(round(side / pixel_mm), 1) for side in sides)
    return rows, columns, pixel_mm


def bar_length(width_mm: float) -> tuple[float, str]:
    """The longest of 1, 2 or 5 times a power of ten that fits, in mm, and how it is written, such as 500 um."""
    power = 10.0 ** math.floor(math.log10(width_mm))
    length = next(factor * power for factor in (5, 2, 1) if factor * power <= width_mm * (1 + 1e-9))
    unit_mm, unit = next((one for one in _UNITS if length >= one[0] * (1 - 1e-9)), _UNITS[-1])
    return length, f"{length / unit_mm:g} {unit}"


def _nearest(pixels: int, voxels: int) -> NDArray[np.int64]:
    """The voxel in which the middle of each pixel lies."""
    return (2 * np.arange(pixels) + 1) * voxels // (2 * pixels)


def _with_bar(picture: Image.Image, pixel_mm: float) -> Image.Image:
    length, label = bar_length(max(picture.width * _BAR_SHARE, 1) * pixel_mm)
    pixels = max(round(length / pixel_mm), 1)
    font, top = _font(), picture.height + _MARGIN
    width = max(picture.width, pixels + 3 * _MARGIN + math.ceil(font.getlength(label)))
    canvas, draw = _canvas(picture, width=width, height=top + _LINE)
    draw.rectangle((_MARGIN, top + 4, _MARGIN + pixels - 1, top + 7), fill=_INK)
    draw.text((2 * _MARGIN + pixels, top - 2), label, fill=_INK, font=font)
    return canvas


def _with_legend(picture: Image.Image, organs: OrganMap) -> Image.Image:
    font, left = _font(), picture.width + _MARGIN
    names = [_in_ascii(organ.name.replace("_", " ")) for organ in organs.organs]
    longest = math.ceil(max(font.getlength(name) for name in names))
    height = max(picture.height, 2 * _MARGIN + _LINE * len(names))
    canvas, draw = _canvas(picture, width=left + _SWATCH + longest + 2 * _MARGIN, height=height)
    for number, (organ, name) in enumerate(zip(organs.organs, names, strict=True)):
        top = _MARGIN + _LINE * number
        draw.rectangle((left, top, left + _SWATCH - 1, top + _SWATCH - 1), fill=organ.colour)
        draw.text((left + _SWATCH + _MARGIN, top - 1), name, fill=_INK, font=font)
    return canvas


def _in_ascii(name: str) -> str:
    """As the font that comes with Pillow can write it: letters without their accents, ? for what it does not have."""
    letters = (letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return "".join(letters).encode("ascii", "replace").decode()


def _canvas(picture: Image.Image, *, width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A larger one with the picture in its upper left corner."""
    from PIL import Image, ImageDraw  # noqa: PLC0415

    canvas = Image.new("RGB", (width, height), _PAPER)
    canvas.paste(picture, (0, 0))
    return canvas, ImageDraw.Draw(canvas)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont  # noqa: PLC0415

    return ImageFont.load_default(_TEXT_PIXELS)
