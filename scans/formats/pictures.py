"""Slices as pictures, BMP and PNG: their size by the header, before anything is unpacked, and their grey values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from scans.formats.errors import GREY_VALUES, WHOLE_FILE, FormatError

HEADER_BYTES = 54
"""As many as say what a picture is."""
_BMP = b"BM"
_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN_BITS = frozenset({8, 24, 32})
_COLOURS = {1: 1, 2: 1, 3: 3, 4: 3}
"""By samples of a pixel, how many of them are colours; the other says how opaque it is."""


@dataclass(frozen=True)
class PictureHeader:
    """What a picture says of itself."""

    size: tuple[int, int]
    """Rows, columns."""
    bits: int
    """Of a pixel of BMP, of a sample of PNG."""


def picture_kind(start: bytes) -> str | None:
    """What a file with these first bytes is; None where it is neither."""
    return "PNG" if start.startswith(_PNG) else "BMP" if _is_bmp(start) else None


def _is_bmp(start: bytes) -> bool:
    """Two letters alone would be found in many a file."""
    return start.startswith(_BMP) and start[6:10] == bytes(4) and 40 <= int.from_bytes(start[14:18], "little") <= 124


def picture_header(path: Path, start: bytes) -> PictureHeader | None:
    """None where these first bytes are of no BMP or PNG. Raises FormatError for one without pixels, or of odd kinds."""
    header: PictureHeader | None = None
    if start.startswith(_PNG) and start[12:16] == b"IHDR":
        columns, rows = (int.from_bytes(start[at : at + 4], "big") for at in (16, 20))
        header = PictureHeader((rows, columns), start[24])
    elif _is_bmp(start):
        columns, rows = (int.from_bytes(start[at : at + 4], "little", signed=True) for at in (18, 22))
        header = PictureHeader((abs(rows), columns), int.from_bytes(start[28:30], "little"))
    if header is not None and min(header.size) < 1:
        raise FormatError(path, f"damaged: a picture of {header.size} pixels", WHOLE_FILE)
    return header


def read_picture(path: Path, content: bytes) -> NDArray[Any]:
    """The grey values, (Y, X) uint8 or uint16. Raises FormatError for colour, and for what is cut."""
    header = picture_header(path, content[:HEADER_BYTES])
    if header is None:
        raise FormatError(path, f"its first bytes are {content[:8].hex(' ')}", "a BMP or PNG picture")
    if content.startswith(_BMP):
        pixels: NDArray[Any] = _bmp(path, header, content)
    else:
        pixels = imagecodecs.png_decode(content)
        if header.bits == 1 and pixels.ndim == 2:  # libpng makes 0 and 255 of it
            pixels = (pixels > 0).astype(np.uint8)
    if pixels.ndim == 3:
        pixels = _grey(path, pixels)
    if pixels.shape != header.size:
        raise FormatError(path, f"holds {pixels.shape} pixels where its header says {header.size}", WHOLE_FILE)
    return pixels


def _bmp(path: Path, header: PictureHeader, content: bytes) -> NDArray[np.uint8]:
    """Samples as stored, colours of a palette looked up, the first row on top: (Y, X, 1, 3 or 4)."""
    (rows, columns), bits = header.size, header.bits
    if bits not in _PLAIN_BITS or int.from_bytes(content[30:34], "little") != 0:
        found = f"a packed BMP, or one of {bits} bits per pixel"
        raise FormatError(path, found, "BMP of 8 or 24 bits, not packed, or PNG")
    begin, stride = int.from_bytes(content[10:14], "little"), (columns * bits // 8 + 3) // 4 * 4
    if len(content) < begin + stride * rows:
        raise FormatError(path, f"truncated: {len(content)} of {begin + stride * rows} bytes", WHOLE_FILE)
    stored = np.frombuffer(content, np.uint8, stride * rows, begin).reshape(rows, stride)
    samples = stored[:, : columns * bits // 8].reshape(rows, columns, bits // 8)
    if int.from_bytes(content[22:26], "little", signed=True) > 0:
        samples = samples[::-1]
    if bits > 8:
        return samples[..., :3]
    return _palette(content, before=begin)[samples[..., 0]]


def _palette(content: bytes, *, before: int) -> NDArray[np.uint8]:
    """Blue, green and red of 256 values, (256, 3); those that the file does not have are black."""
    at = 14 + int.from_bytes(content[14:18], "little")
    count = min(int.from_bytes(content[46:50], "little") or 256, 256, max(0, before - at) // 4)
    colours = np.zeros((256, 3), np.uint8)
    colours[:count] = np.frombuffer(content, np.uint8, 4 * count, at).reshape(count, 4)[:, :3]
    return colours


def _grey(path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    colours = _COLOURS[pixels.shape[2]]
    if (pixels[..., :colours] != pixels[..., :1]).any():
        raise FormatError(path, "a colour picture", GREY_VALUES)
    return pixels[..., 0]
