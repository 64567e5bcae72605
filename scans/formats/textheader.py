"""Headers that are lines of text, `key: value` or `key = value`, before binary voxels: NRRD and MetaImage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from scans.formats.errors import WHOLE_FILE, FormatError

_LONGEST_HEADER = 1 << 20
_MOST_WORDS = 256
"""Of a field that holds numbers or names of axes: a 16 x 16 matrix has as many."""
_LONGEST_WORD = 64
_MM = {
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0,
    "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0,
    "m": 1000.0, "meter": 1000.0, "metre": 1000.0,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "micrometre": 1e-3,
    "nm": 1e-6, "nanometer": 1e-6, "nanometre": 1e-6, "angstrom": 1e-7, "å": 1e-7, "picometer": 1e-9, "pm": 1e-9,
    "inch": 25.4, "in": 25.4, "foot": 304.8, "yard": 914.4,
}  # fmt: skip


@dataclass(frozen=True)
class TextHeader:
    """The fields of a header, keys in lower case."""

    path: Path
    fields: dict[str, str]
    end: int
    """Where the voxels begin, in bytes."""

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
    while file.tell() < _LONGEST_HEADER:
        line = file.readline(_LONGEST_HEADER)
        if not line:
            if ends_with_blank_line and fields.get("data file", fields.get("datafile")):
                return TextHeader(path, fields, file.tell())
            break
        text = line.decode("utf-8", "replace").strip()
        if not text and ends_with_blank_line:
            return TextHeader(path, fields, file.tell())
        key, found, value = text.partition(separator)
        if found and not text.startswith("#") and not value.startswith("="):
            fields[key.strip().lower()] = value.strip()
        if last_field in fields:
            return TextHeader(path, fields, file.tell())
    raise FormatError(path, "truncated: the header has no end", WHOLE_FILE)


def data_file(path: Path, name: str) -> Path:
    """The file beside the header that holds the voxels. Raises FormatError for lists, patterns and other folders."""
    plain = PurePosixPath(name).name == name == PureWindowsPath(name).name
    if not plain or name.split(maxsplit=1)[0] == "LIST" or "%" in name:
        raise FormatError(path, f"voxels in {name[:80]!r}", "voxels in the file itself, or in one file beside it")
    found = path.with_name(name)
    if not found.is_file():
        raise FormatError(path, f"voxels in {name!r}, which is not there", "voxels in the file itself (.nrrd, .mha)")
    return found


def to_mm(path: Path, unit: str) -> float:
    """How many mm a unit of length is. Raises FormatError for one that is not known."""
    factor = _MM.get(unit.strip().lower())
    if factor is None:
        raise FormatError(path, f"lengths in {unit!r}", "lengths in mm, um, nm, cm, m or inch")
    return factor
