"""Ranges: which part of a file a request asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_ONE: Final = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.ASCII)


class RangeNotSatisfiable(ValueError):
    """A part that begins behind the end of the file."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes, and the range begins behind its last one")
        self.size = size
        """Bytes of the file."""


def asked_range(headers: Mapping[str, str], *, size: int, tag: str) -> tuple[int, int] | None:
    """First byte and the one behind the last that are asked for; None for the whole file.

    One range alone is looked at: several, and what is no range of bytes, get the whole file, as does an If-Range that
    is not of this version. Raises RangeNotSatisfiable.
    """
    found = _ONE.fullmatch(headers.get("range", ""))
    if found is None or headers.get("if-range", tag) != tag:
        return None
    first, last = found.groups()
    if not first:
        if not last:
            return None
        start, stop = max(0, size - int(last)), size
    else:
        if last and int(last) < int(first):
            return None
        start, stop = int(first), min(size, int(last) + 1) if last else size
    if start >= stop:
        raise RangeNotSatisfiable(size)
    return start, stop


def has_changed(headers: Mapping[str, str], tag: str) -> bool:
    """False where If-None-Match says that the sender has this version."""
    stated = headers.get("if-none-match")
    if stated is None:
        return True
    tags = {one.strip().removeprefix("W/") for one in stated.split(",")}
    return tag not in tags and "*" not in tags
