"""Mask picture: the segmentation of a slice as a PNG, by which a server and training keep the masks that people judged.

Eight bits of grey a pixel, each the class index: lossless, a few kB for a slice of 1000 x 1000, and read by everything.
"""

from __future__ import annotations

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIZE = slice(16, 24)
"""Of the header, where width and height stand, 4 bytes each, the most significant first."""
_MOST_PIXELS = 1 << 28
"""Of what is read: a slice of 16,384 x 16,384. What says that it has more is no mask of a scan."""
_LEVEL = 9
"""Of compression: they are written once, and kept."""


class MaskPictureError(ValueError):
    """Bytes that are no mask; the message says what they are."""


def mask_png(mask: NDArray[np.uint8]) -> bytes:
    """A slice's segmentation, class indices, uint8 (Y, X), as PNG. Raises ValueError for another shape or type."""
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"a mask is uint8 (Y, X), not {mask.dtype} of shape {mask.shape}")
    rows = mask.copy(order="C")  # not ascontiguousarray: it leaves strides of sides of one pixel, which are refused
    return bytes(imagecodecs.png_encode(rows, level=_LEVEL))


def mask_from_png(content: bytes) -> NDArray[np.uint8]:
    """The class indices, uint8 (Y, X), of what `mask_png` wrote. Raises MaskPictureError."""
    if not content.startswith(_SIGNATURE):
        raise MaskPictureError("it is no PNG")
    width, height = (int(side) for side in np.frombuffer(content[_SIZE].ljust(8, b"\0"), ">u4"))
    if width * height > _MOST_PIXELS:
        raise MaskPictureError(f"it says that it has {height} x {width} pixels; a mask has {_MOST_PIXELS} at most")
    try:
        mask: NDArray[np.uint8] = np.asarray(imagecodecs.png_decode(content))
    except (RuntimeError, ValueError) as error:  # PngError is the former
        raise MaskPictureError(f"it is a damaged PNG: {error}") from None
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise MaskPictureError(f"it holds {mask.dtype} of shape {mask.shape}; a mask is a grey PNG of eight bits")
    return mask
