"""Whether a file is DICOM, and where its first element is: some scanners write files without the prefix."""

from __future__ import annotations

import struct

_PREFIX_AT = 128
_AFTER_PREFIX = 132
_FIRST_GROUPS = frozenset({2, 8})
_LONGEST_VALUE = 1024
_ELEMENTS = 3
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


def first_element(start: bytes) -> int | None:
    """Where the first element of a DICOM file is; None for a file of another kind.

    Without the prefix DICM, a file is DICOM if it begins with three elements of ascending tags, the first in the group
    of the file's own description (0002) or of the image's identity (0008).
    """
    if start[_PREFIX_AT:_AFTER_PREFIX] == b"DICM":
        return _AFTER_PREFIX
    before, at = (0, 0), 0
    for number in range(_ELEMENTS):
        if at + 12 > len(start):
            return None
        group, element = struct.unpack_from("<HH", start, at)
        if (group, element) <= before or (number == 0 and group not in _FIRST_GROUPS):
            return None
        before = (group, element)
        header, length = _lengths(start, at)
        if length > _LONGEST_VALUE:
            return None
        at += header + length
    return 0


def _lengths(start: bytes, at: int) -> tuple[int, int]:
    """Bytes of an element's header and of its value, with the value's kind stated or left out."""
    kind = start[at + 4 : at + 6]
    if not (kind.isalpha() and kind.isupper()):
        return 8, int.from_bytes(start[at + 4 : at + 8], "little")
    if kind in _LONG:
        return 12, int.from_bytes(start[at + 8 : at + 12], "little")
    return 8, int.from_bytes(start[at + 6 : at + 8], "little")
