"""The pages of a TIFF file, before a library is trusted with them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from scans.formats.errors import WHOLE_FILE, FormatError

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_MOST_PAGES = 1 << 17


def is_tiff(start: bytes) -> bool:
    """True where the first bytes are those of a TIFF or BigTIFF file."""
    return start[:4] in _SIGNATURES


def count_pages(path: Path, file: BinaryIO) -> int:
    """The number of pages, from the chain of their directories.

    Raises FormatError if the chain leaves the file, as it does where the file is cut, or comes back to an earlier page:
    libraries end the chain there instead, without a word. Directories that lie over each other, all of whose entries
    would be read for each page, take more bytes than the file has, and are refused as well.
    """
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    big = start[2:4] in (b"+\0", b"\0+")
    count_format, offset_format, entry_bytes = (order + "Q", order + "Q", 20) if big else (order + "H", order + "I", 12)
    size = file.seek(0, 2)
    (offset,) = struct.unpack_from(offset_format, start, 8 if big else 4)
    seen: set[int] = set()
    entries = 0
    while offset:
        count = _number(file, offset, count_format)
        end = None if count is None else offset + struct.calcsize(count_format) + count * entry_bytes
        following = None if end is None or end > size else _number(file, end, offset_format)
        if following is None or offset in seen:
            raise FormatError(path, f"damaged or truncated: the TIFF ends after page {len(seen)}", WHOLE_FILE)
        seen.add(offset)
        entries += count or 0
        if entries * entry_bytes > size:
            found = f"damaged: the first {len(seen)} pages have {entries} entries in {size} bytes"
            raise FormatError(path, found, WHOLE_FILE)
        if len(seen) > _MOST_PAGES:
            raise FormatError(path, f"a TIFF of more than {_MOST_PAGES} pages", f"at most {_MOST_PAGES} slices")
        offset = following
    if not seen:
        raise FormatError(path, "empty: a TIFF without pages", WHOLE_FILE)
    file.seek(0)
    return len(seen)


def _number(file: BinaryIO, offset: int, number_format: str) -> int | None:
    file.seek(offset)
    content = file.read(struct.calcsize(number_format))
    if len(content) < struct.calcsize(number_format):
        return None
    (value,) = struct.unpack(number_format, content)
    return int(value)
