"""Mutations: how a good file becomes a bad one. The same seed makes the same bytes."""

from __future__ import annotations

import gzip
import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

_NUMBERS = (0, 1, 2, 3, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
_TEXTS = (
    b"",
    b"-1",
    b"0",
    b"1e400",
    b"nan",
    b"inf",
    b"-0.0",
    b"1e-320",
    b"99999999999999999999",
    b"9" * 5000,
    b"[" * 3000,
    b"(" * 3000,
    b'{"a":' * 1000,
    b'"',
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "٣".encode(),
    b"1 2 3 4 5 6 7 8 9",
    b"../../etc/passwd",
    b"\n",
    b" " * 2000,
)
_NAMES = ("../out", "/rooted", "9" * 900 + "\n", "a" * 3000, "\x00", "a/" * 200 + "b", "CON", "٣.tif", "")
_MOST_INNER = 4_000_000
"""Bytes of an entry that is unpacked to be changed inside."""

_NUMBER = re.compile(rb"[0-9][0-9.]{0,30}")


def mutate(content: bytes, other: bytes, dice: random.Random) -> bytes:
    """One to four changes of a file; `other` is one that pieces may come from.

    Of what is packed, the inside is changed two times out of three, and packed again with right lengths and checksums.
    """
    if dice.random() < 2 / 3:
        if content[:2] == b"PK":
            return _inside_zip(content, dice)
        if content[:2] == b"\x1f\x8b":
            return _inside_gzip(content, dice)
    return _changed(content, other, dice)


def _changed(content: bytes, other: bytes, dice: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        dice.choice(_CHANGES)(changed, other, dice)
    return bytes(changed)


def _place(content: bytearray, dice: random.Random) -> int:
    """Headers are at the front, or (TIFF, zip) at the end; the rest is voxels, which hold nothing to lie about."""
    end = max(len(content), 1)
    ranges = ((0, min(end, 64)), (0, min(end, 512)), (max(0, end - 600), end), (0, end))
    return dice.randrange(*dice.choice(ranges))


def _flip(content: bytearray, _: bytes, dice: random.Random) -> None:
    for _n in range(dice.choice((1, 1, 4, 16))):
        if content:
            content[_place(content, dice)] ^= 1 << dice.randrange(8)


def _set_bytes(content: bytearray, _: bytes, dice: random.Random) -> None:
    at, length = _place(content, dice), dice.choice((1, 2, 8, 64))
    content[at : at + length] = bytes([dice.choice((0, 1, 127, 128, 254, 255))]) * length


def _truncate(content: bytearray, _: bytes, dice: random.Random) -> None:
    del content[_place(content, dice) :]


def _insert(content: bytearray, _: bytes, dice: random.Random) -> None:
    at = _place(content, dice)
    content[at:at] = dice.randbytes(dice.choice((1, 4, 100, 5000)))


def _remove(content: bytearray, _: bytes, dice: random.Random) -> None:
    at = _place(content, dice)
    del content[at : at + dice.choice((1, 2, 4, 100, 1000))]


def _splice(content: bytearray, other: bytes, dice: random.Random) -> None:
    at, length = _place(content, dice), dice.choice((4, 50, 500, len(other)))
    begin = dice.randrange(max(len(other), 1))
    content[at : at + length] = other[begin : begin + length]


def _repeat(content: bytearray, _: bytes, dice: random.Random) -> None:
    at, length = _place(content, dice), dice.choice((4, 50, 500))
    content[at:at] = bytes(content[at : at + length]) * dice.choice((1, 10, 100))


def _lie(content: bytearray, _: bytes, dice: random.Random) -> None:
    """A length, count or offset that is another."""
    size, order = dice.choice("BHIQfd"), dice.choice("<>")
    number: float = dice.choice(_NUMBERS)
    if size in "fd":
        packed = struct.pack(order + size, dice.choice((float("nan"), float("inf"), 0.0, -1.0, 1e30, 1e-30)))
    else:
        packed = struct.pack(order + size, int(number) % (1 << (8 * struct.calcsize(order + size))))
    at = _place(content, dice)
    if dice.random() < 0.6:
        at -= at % len(packed)
    content[at : at + len(packed)] = packed


def _retell(content: bytearray, _: bytes, dice: random.Random) -> None:
    """A number that is written out becomes something else."""
    found = [match.span() for match in _NUMBER.finditer(bytes(content[:20_000]))]
    begin, end = dice.choice(found) if found else (0, 0)
    content[begin:end] = dice.choice(_TEXTS)


_CHANGES: tuple[Callable[[bytearray, bytes, random.Random], None], ...] = (
    _flip,
    _set_bytes,
    _truncate,
    _insert,
    _remove,
    _splice,
    _repeat,
    _lie,
    _lie,
    _lie,
    _retell,
    _retell,
)


def _inside_gzip(content: bytes, dice: random.Random) -> bytes:
    try:
        inside = gzip.decompress(content) if len(content) < _MOST_INNER else b""
    except (OSError, EOFError, zlib.error):
        inside = b""
    return gzip.compress(_changed(inside, inside, dice), compresslevel=1, mtime=0)


def _inside_zip(content: bytes, dice: random.Random) -> bytes:
    """Entries change inside, change names, change places, are gone or are there twice."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(one.filename, archive.read(one)) for one in archive.infolist() if one.file_size < _MOST_INNER]
    for _ in range(dice.choice((1, 1, 2, 3))):
        if not entries:
            break
        number = _entry(entries, dice)
        name, inside = entries[number]
        how = dice.random()
        if how < 0.7:
            entries[number] = name, _changed(inside, dice.choice(entries)[1], dice)
        elif how < 0.8:
            del entries[number]
        elif how < 0.9:
            entries[number] = dice.choice(_NAMES) + dice.choice(("", name)), inside
        else:
            entries[number] = name, dice.choice(entries)[1]
    method = dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, inside in entries:
            archive.writestr(zipfile.ZipInfo(name), inside, compress_type=method)
    return buffer.getvalue()


def _entry(entries: list[tuple[str, bytes]], dice: random.Random) -> int:
    """One of them; of those that describe the others, every second time."""
    telling = [n for n, (name, _) in enumerate(entries) if name.rpartition("/")[2] in _TELLING]
    return dice.choice(telling) if telling and dice.random() < 0.5 else dice.randrange(len(entries))


_TELLING = {"zarr.json", ".zattrs", ".zarray", ".zgroup"}
