"""Whether the pixels of a TIFF page may be decoded: how they are packed, and how much they unpack to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from scans.formats.codestreams import stated_size
from scans.formats.errors import WHOLE_FILE, FormatError
from scans.formats.sources import LARGEST_SLICE

_BY_CODESTREAM = (7, 34712)
_ACCEPTED = (1, 5, 8, 32773, 32946, 34926, 50000, *_BY_CODESTREAM)
"""None, LZW, Deflate (both numbers), PackBits, Zstandard (both), JPEG, JPEG 2000."""
_NAMES = "a TIFF that is not packed, or packed with LZW, Deflate, PackBits, Zstandard, JPEG or JPEG 2000"
_TILE_BYTES = 64 << 20
_TIMES_THE_PAGE = 4
"""How much larger than its page a strip or tile may be, beyond tiles of a usual size."""
_HEADER_BYTES = 1 << 16


def require_decodable(path: Path, page: Any) -> None:
    """Raises FormatError where a page is packed otherwise than the formats that are read, by name, or is too large.

    Nothing is decoded, and nothing of the page's size allocated. What JPEG and JPEG 2000 say of their own size may not
    exceed the tile that they lie in: their decoders believe them.
    """
    if page.compression not in _ACCEPTED:
        name = getattr(page.compression, "name", page.compression)
        raise FormatError(path, f"a TIFF packed with {name}", _NAMES)
    item = page.dtype.itemsize if page.dtype is not None else 1
    size, tile = math.prod(page.shape) * item, math.prod(page.chunks) * item
    if size > LARGEST_SLICE:
        raise FormatError(path, f"damaged, or a page of {size} bytes ({page.shape} pixels)", "slices of 1 GiB")
    if tile > max(_TILE_BYTES, _TIMES_THE_PAGE * size):
        raise FormatError(path, f"tiles of {page.chunks} in a page of {page.shape} pixels", "tiles no larger than that")
    if page.compression in _BY_CODESTREAM:
        _require_sizes(path, page)


def _require_sizes(path: Path, page: Any) -> None:
    stated_by = page.keyframe
    rows, columns = stated_by.tilelength, stated_by.tilewidth
    if not stated_by.is_tiled:
        rows, columns = min(stated_by.rowsperstrip, stated_by.imagelength), stated_by.imagewidth
    file = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        stated = stated_size(file.read(min(count, _HEADER_BYTES)))
        if stated is None:
            raise FormatError(path, f"a tile of page {page.index} that does not say how large it is", WHOLE_FILE)
        if stated[0] > rows or stated[1] > columns:
            found = f"page {page.index} holds a picture of {stated[0]} x {stated[1]} in {rows} x {columns} pixels"
            raise FormatError(path, found, WHOLE_FILE)
