"""A zip of stored files that is made while it is sent: no temporary file, its length known before its first byte.

For each file: a local header that leaves the checksum open, the bytes, then a data descriptor with the checksum. Sizes
are written as zip64 where they need it. The same files give the same bytes: dates are fixed, zarr.json comes first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isal import isal_zlib

_PIECE_BYTES = 1 << 20
_MOST_32 = 0xFFFFFFFF
"""This number and more need zip64: in a field of 32 bits it says that the value stands elsewhere."""
_MOST_16 = 0xFFFF
_VERSION_ZIP64 = 45
_FLAGS = 0x0008 | 0x0800
"""Checksum after the data; names in UTF-8."""
_DATE = (0, 0x0021)
"""1 January 1980, midnight."""


@dataclass(frozen=True)
class ZipEntry:
    """A file of the archive."""

    name: str
    """With forward slashes."""
    size: int
    """Bytes; known before the file is opened."""
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class _Written:
    entry: ZipEntry
    offset: int
    checksum: int


def folder_entries(folder: Path) -> list[ZipEntry]:
    """All files below a folder, named relative to it."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [ZipEntry(file.relative_to(folder).as_posix(), file.stat().st_size, _opener(file)) for file in files]


def _opener(file: Path) -> Callable[[], BinaryIO]:
    return lambda: file.open("rb")


def zip_bytes(entries: Iterable[ZipEntry]) -> int:
    """Length of the archive that `zip_stream` makes of them."""
    written, offset = [], 0
    for entry in _ordered(entries):
        written.append(_Written(entry, offset, 0))
        offset += len(_local_header(entry)) + entry.size + len(_descriptor(entry, 0))
    return offset + len(_directory(written, offset))


def zip_stream(entries: Iterable[ZipEntry]) -> Iterator[bytes]:
    """The archive, piece by piece. Raises OSError where a file does not have the size that was announced."""
    return zip_in_order(_ordered(entries))


def zip_in_order(entries: Iterable[ZipEntry]) -> Iterator[bytes]:
    """Like `zip_stream`, of files that may be made one after another: each is asked for when the last has been sent."""
    written, offset = [], 0
    for entry in entries:
        header = _local_header(entry)
        yield header
        checksum, size = 0, 0
        with entry.open() as file:
            while piece := file.read(_PIECE_BYTES):
                checksum = isal_zlib.crc32(piece, checksum)
                size += len(piece)
                yield piece
        if size != entry.size:
            raise OSError(f"{entry.name} has {size} bytes; {entry.size} were announced")
        descriptor = _descriptor(entry, checksum)
        yield descriptor
        written.append(_Written(entry, offset, checksum))
        offset += len(header) + size + len(descriptor)
    yield _directory(written, offset)


def _ordered(entries: Iterable[ZipEntry]) -> list[ZipEntry]:
    """Metadata first, as readers over a network like it."""
    return sorted(entries, key=lambda entry: (not entry.name.endswith("zarr.json"), entry.name.count("/"), entry.name))


def _local_header(entry: ZipEntry) -> bytes:
    name = entry.name.encode()
    large = entry.size >= _MOST_32
    extra = struct.pack("<HHQQ", 1, 16, 0, 0) if large else b""
    sizes = (_MOST_32, _MOST_32) if large else (0, 0)
    fields = (0x04034B50, _VERSION_ZIP64, _FLAGS, 0, *_DATE, 0, *sizes, len(name), len(extra))
    return struct.pack("<IHHHHHIIIHH", *fields) + name + extra


def _descriptor(entry: ZipEntry, checksum: int) -> bytes:
    large = entry.size >= _MOST_32
    return struct.pack("<IIQQ" if large else "<IIII", 0x08074B50, checksum, entry.size, entry.size)


def _directory(written: Sequence[_Written], offset: int) -> bytes:
    entries = b"".join(_directory_entry(one) for one in written)
    count = len(written)
    zip64 = b""
    if offset >= _MOST_32 or count >= _MOST_16 or len(entries) >= _MOST_32:
        fields = (0x06064B50, 44, _VERSION_ZIP64, _VERSION_ZIP64, 0, 0, count, count, len(entries), offset)
        zip64 = struct.pack("<IQHHIIQQQQ", *fields)
        zip64 += struct.pack("<IIQI", 0x07064B50, 0, offset + len(entries), 1)
    few, short, near = min(count, _MOST_16), min(len(entries), _MOST_32), min(offset, _MOST_32)
    return entries + zip64 + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, few, few, short, near, 0)


def _directory_entry(one: _Written) -> bytes:
    name, size = one.entry.name.encode(), one.entry.size
    large, far = size >= _MOST_32, one.offset >= _MOST_32
    values = [size, size] * large + [one.offset] * far
    extra = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""
    sizes = (_MOST_32, _MOST_32) if large else (size, size)
    fields = (0x02014B50, _VERSION_ZIP64, _VERSION_ZIP64, _FLAGS, 0, *_DATE, one.checksum, *sizes)
    places = (len(name), len(extra), 0, 0, 0, 0, min(one.offset, _MOST_32))
    return struct.pack("<IHHHHHHIIIHHHHHII", *fields, *places) + name + extra
