"""Quantities: numbers in text, of as many digits as a number of their kind has."""

from __future__ import annotations

import math

from serving.parsing.malformed import Refusal, shown

LARGEST = 2**63 - 1
"""Of whole numbers: what databases, files and clients in other languages can hold."""
_MOST_DIGITS = 19
_LONGEST_REAL = 40
_REAL = frozenset("0123456789+-.eE")


def whole_number(text: str, *, name: str, refused: Refusal) -> int:
    """A number from 0 to LARGEST, in ASCII digits alone. Raises what `refused` makes."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS) or int(text) > LARGEST:
        raise refused(f"{name} is {shown(text)}; it must be a number from 0 to {LARGEST}")
    return int(text)


def optional_number(text: str | None) -> int | None:
    """The same; None where there is none, or where it is no such number."""
    if text is None or not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        return None
    return int(text)


def real_number(text: str, *, name: str, refused: Refusal) -> float:
    """A finite number in ASCII, with or without a fraction and an exponent. Raises what `refused` makes."""
    stripped = text.strip(" ")
    try:
        number = float(stripped) if len(stripped) <= _LONGEST_REAL and _REAL.issuperset(stripped) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise refused(f"{name} is {shown(text)}; it must be a finite number, such as 0.005")
    return number
