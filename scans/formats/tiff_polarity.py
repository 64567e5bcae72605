"""What the values of a TIFF page mean: whether low ones are bright, and whether they are grey values at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tifffile import PHOTOMETRIC

from scans.formats.errors import GREY_VALUES, FormatError

INTERPRETATION = "PhotometricInterpretation"
"""What TIFF calls it."""

_INKS_AND_MOSAICS = {
    PHOTOMETRIC.SEPARATED: "the amounts of an ink",
    PHOTOMETRIC.CFA: "the mosaic of a colour camera",
}


def low_is_bright(path: Path, page: Any) -> bool:
    """True for MINISWHITE, and for a palette of greys that get darker. Raises FormatError for what is no grey value.

    The indices of a coloured palette are taken as they are: it is how a program shows grey values or labels.
    """
    stated = interpretation(page)
    if stated in _INKS_AND_MOSAICS:
        raise FormatError(path, f"page {page.index} holds {_INKS_AND_MOSAICS[PHOTOMETRIC(stated)]}", GREY_VALUES)
    if stated == PHOTOMETRIC.PALETTE:
        return _darkens(page.colormap)
    return stated == PHOTOMETRIC.MINISWHITE


def interpretation(page: Any) -> int | None:
    """What a page states; None where it states nothing, which tifffile takes for MINISWHITE."""
    tag = page.aspage().tags.get(INTERPRETATION)
    return None if tag is None else int(tag.value)


def bits_of(page: Any) -> int:
    """Of a pixel's value."""
    bits = page.bitspersample
    return int(bits[0] if isinstance(bits, tuple) else bits)


def is_mask(page: Any) -> bool:
    """True for pixels of one bit: black and white, which mean the same in a scan and in labels."""
    return bits_of(page) == 1


def _darkens(palette: Any) -> bool:
    if palette is None:
        return False
    red, green, blue = np.asarray(palette, np.int64)
    grey = np.array_equal(red, green) and np.array_equal(green, blue)
    return bool(grey and red[0] > red[-1] and (np.diff(red) <= 0).all())
