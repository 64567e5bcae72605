"""Numbers in file names: the order that people expect, and which slice a name stands for."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

_DIGITS = frozenset("0123456789")


class NumberedName(NamedTuple):
    """A name around the last number in it."""

    before: str
    digits: str
    after: str


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts numbers in names by their value: text and digits in turn, digits by their length first.

    Takes time in proportion to the name: a number is never worked out.
    """
    key: list[tuple[int, str]] = [] if name[:1] not in _DIGITS else [(0, "")]
    for is_number, characters in groupby(name, key=_DIGITS.__contains__):
        part = "".join(characters)
        value = part.lstrip("0") if is_number else part
        key.append((len(value), value) if is_number else (0, part))
    return key


def last_number(name: str) -> NumberedName | None:
    """The name around its last number; None where it has none."""
    end = next((at for at in range(len(name), 0, -1) if name[at - 1] in _DIGITS), 0)
    before = name[:end].rstrip("0123456789")
    return NumberedName(before, name[len(before) : end], name[end:]) if end else None
