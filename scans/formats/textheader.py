"""Headers that are lines of text, `key: value` or `key = value`, before binary voxels: NRRD and MetaImage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from scans.formats.errors import WHOLE_FILE, FormatError
from scans.formats.units import LengthUnit, in_unit
from scans.geometry import StatedUnits

TEXT_HEADERS = "nrrd, metaimage"
"""What these formats are to a result that keeps the units of its scan."""

_LONGEST_HEADER = 1 << 20
_MOST_WORDS = 256
"""Of a field that holds numbers or names of axes: a 16 x 16 matrix has as many."""
_LONGEST_WORD = 64


@dataclass(frozen=True)
class TextHeader:
    """The fields of a header, keys in lower case."""

    path: Path
    fields: dict[str, str]
    end: int
    """Where the voxels begin, in bytes."""
    pairs: dict[str, str] = field(default_factory=dict)
    """What programs add in lines `key:=value`, keys in lower case."""

    def get(self, key: str, default: str = "") -> str:
        """The value, or the default."""
        return self.fields.get(key, default)

    def require(self, key: str) -> str:
        """The value. Raises FormatError that names the field."""
        if key not in self.fields:
            raise FormatError(self.path, f"damaged: the header has no field {key!r}", WHOLE_FILE)
        return self.fields[key]

    def words(self, key: str, default: str = "") -> list[str]:
        """The value, or the default, split at white space. Raises FormatError for more than a field of axes can hold.

        What is found here is parsed further: the limits on number and length of the words come before that.
        """
        words = self.get(key, default).split(maxsplit=_MOST_WORDS)
        if len(words) > _MOST_WORDS or any(len(word) > _LONGEST_WORD for word in words):
            accepted = f"at most {_MOST_WORDS} words of at most {_LONGEST_WORD} characters there"
            raise FormatError(self.path, f"damaged: {key} is {self.get(key)[:80]!r}...", accepted)
        return words

    def numbers(self, key: str) -> list[int]:
        """The value as whole numbers. Raises FormatError that names the field."""
        text = self.require(key)
        try:
            return [int(word) for word in self.words(key)]
        except ValueError as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(self.path, f"damaged: {key} is {text[:80]!r}", "whole numbers there") from None

    def number(self, key: str, default: int) -> int:
        """The value as one whole number, or the default. Raises FormatError that names the field."""
        if key not in self.fields:
            return default
        found = self.numbers(key)
        if len(found) != 1:
            raise FormatError(self.path, f"damaged: {key} is {self.get(key)[:80]!r}", "one whole number there")
        return found[0]

    def decimals(self, key: str) -> list[float]:
        """The value as numbers, none where the field is missing. Raises FormatError, and ValueError for other words."""
        return [float(word) for word in self.words(key)]


def read_text_header(
    path: Path, file: BinaryIO, *, separator: str, ends_with_blank_line: bool = False, last_field: str = ""
) -> TextHeader:
    """The header at the file's beginning, up to a blank line or to its last field. Raises FormatError if it is cut."""
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    while file.tell() < _LONGEST_HEADER:
        line = file.readline(_LONGEST_HEADER)
        if not line:
            if ends_with_blank_line and fields.get("data file", fields.get("datafile")):
                return TextHeader(path, fields, file.tell(), pairs)
            break
        text = line.decode("utf-8", "replace").strip()
        if not text and ends_with_blank_line:
            return TextHeader(path, fields, file.tell(), pairs)
        key, found, value = text.partition(separator)
        if found and not text.startswith("#"):
            pair = value.startswith("=")
            (pairs if pair else fields)[key.strip().lower()] = value.removeprefix("=").strip()
        if last_field in fields:
            return TextHeader(path, fields, file.tell(), pairs)
    raise FormatError(path, "truncated: the header has no end", WHOLE_FILE)


def kept(units: Sequence[LengthUnit]) -> StatedUnits | None:
    """Units of x, y and z in a header of this kind, which ITK does not read: results have the same. None: all mm."""
    x, y, z = (unit.symbol for unit in units)
    return None if {x, y, z} == {"mm"} else StatedUnits((x, y, z), TEXT_HEADERS)


def numbers_in(units: Sequence[LengthUnit], vector_mm: Sequence[float]) -> list[float]:
    """A vector of the world, x, y, z in mm, in the units of the axes."""
    return [in_unit(value, unit) for value, unit in zip(vector_mm, units, strict=True)]
