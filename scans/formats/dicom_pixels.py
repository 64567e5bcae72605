"""Whether the pixels of a DICOM slice may be decoded: by their transfer syntax, and by what they say of their size."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.encaps import generate_frames

from scans.formats.codestreams import stated_size
from scans.formats.errors import FormatError

META_BYTES = 1 << 14
"""As many as the part of a file has that names its transfer syntax."""
_META_AT = 132
_LONG_LENGTHS = (b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN", b"UC", b"UR")
_PREFIX = "1.2.840.10008.1.2"
_SYNTAXES = frozenset(
    _PREFIX + ending
    for ending in (
        "", ".1", ".2", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91",
        ".4.201", ".4.202", ".4.203",
    )
)  # fmt: skip
"""Plain, RLE, JPEG, JPEG-LS, JPEG 2000 and its high throughput kind."""
_NAMES = {_PREFIX + ".1.99": "deflated", _PREFIX + ".4.100": "MPEG-2", _PREFIX + ".4.102": "MPEG-4"}
_ACCEPTED = "plain DICOM (Explicit VR Little Endian: `dcmconv +te`), RLE, JPEG, JPEG-LS or JPEG 2000"


def require_readable_syntax(path: Path, name: str, start: bytes) -> None:
    """Raises FormatError where the file's beginning names a transfer syntax that is not read.

    A deflated file is one of them: all of it would be unpacked, whatever it holds, for its header alone.
    """
    syntax = _transfer_syntax(start)
    if syntax is not None and syntax not in _SYNTAXES:
        raise FormatError(path, f"{name} is in transfer syntax {_NAMES.get(syntax, syntax)}", _ACCEPTED)


def _transfer_syntax(start: bytes) -> str | None:
    at = _META_AT
    while start[at : at + 2] == b"\x02\x00" and at + 12 <= len(start):
        long = start[at + 4 : at + 6] in _LONG_LENGTHS
        length = int.from_bytes(start[at + 8 : at + 12] if long else start[at + 6 : at + 8], "little")
        value = at + (12 if long else 8)
        if start[at + 2 : at + 4] == b"\x10\x00":
            return start[value : value + min(length, 64)].decode("ascii", "replace").strip("\0 ")
        at = value + length
    return None


def require_stated_size(content: pydicom.Dataset, size: tuple[int, int]) -> None:
    """Raises ValueError where packed pixels say they are a picture of another size than (rows, columns)."""
    if not content.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    frame = next(generate_frames(content.PixelData, number_of_frames=1))
    stated = stated_size(frame)
    if stated is not None and stated != size:
        raise ValueError(f"they are a picture of {stated[0]} x {stated[1]}, not {size[0]} x {size[1]}")
