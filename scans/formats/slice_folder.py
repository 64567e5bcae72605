"""Single pictures, TIFF, PNG or BMP, as the slices of a volume, in natural order of their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray

from scans.formats.entries import Entries
from scans.formats.errors import GREY_VALUES, FormatError, guarded, silence
from scans.formats.file_names import readable
from scans.formats.numbered_names import last_number
from scans.formats.pictures import HEADER_BYTES, picture_header, read_picture
from scans.formats.side_files import passed_over
from scans.formats.sources import LARGEST_SLICE, Opened
from scans.formats.tiff import read_slice
from scans.formats.tiff_counts import require_one_of
from scans.formats.tiff_pages import count_pages
from scans.formats.tiff_polarity import INTERPRETATION
from scans.geometry import Triple

_MOST_DIGITS = 18
"""Of the number of a slice; what is longer is a date or an identifier."""

Size = tuple[int, ...]
CheckSize = Callable[[Size], None]
"""Told the size that a file states before its pixels are unpacked; raises FormatError."""


class ReadSlice(Protocol):
    """Reads one picture, (Y, X), grey values or `labels`; it is one `of` so many, and may count itself or all."""

    def __call__(self, path: Path, file: BinaryIO, check: CheckSize, *, of: int, labels: bool) -> NDArray[Any]:
        """Raises FormatError."""
        ...


@dataclass(frozen=True)
class SliceKind:
    """How pictures of a kind are read."""

    name: str
    read: ReadSlice


def _read_tiff(path: Path, file: BinaryIO, check: CheckSize, *, of: int, labels: bool) -> NDArray[Any]:
    pages = count_pages(path, file)
    with tifffile.TiffFile(file, name=path.name, _multifile=False) as tiff:
        page = tiff.pages[0]
        if pages != 1:
            accepted = "one page in each file; a file of all slices is given as it is, not in a folder or zip"
            raise FormatError(path, f"{pages} pages in a folder of slices", accepted)
        if len(page.shape) != 2:
            raise FormatError(path, f"a colour picture, {page.axes} of {page.shape}", GREY_VALUES)
        check(page.shape)
        require_one_of(path, tiff, of)
        return read_slice(path, page, labels=labels)


def _read_picture(path: Path, file: BinaryIO, check: CheckSize, *, of: int, labels: bool) -> NDArray[Any]:
    content = file.read()
    header = picture_header(path, content[:HEADER_BYTES])
    if header is not None:
        check(header.size)
    return read_picture(path, content)


TIFF = SliceKind("TIFF", _read_tiff)
PICTURE = SliceKind("PNG or BMP", _read_picture)


def open_numbered(entries: Entries, names: list[str], kind: SliceKind, *, beside: Sequence[str] = ()) -> Opened:
    """The volume whose slices are these files. A folder of slices states no spacing.

    `beside` are other files, which are said to be passed over. A picture of another size whose name is unlike those of
    the others is passed over too. Raises FormatError for files in several folders, for a gap in their numbers, for one
    of the same size whose place is not known, and, when it is read, for a slice of another size or type.
    """
    silence("tifffile")
    slices = _numbered_alike(names)
    first = _read(entries, slices[0], kind, of=len(slices))
    unlike = sorted(set(names) - set(slices))
    for name in unlike:
        if _stated_size(entries, name, kind) == first.shape:
            _require_one_folder(entries, names, kind)
            found = f"it may be a slice, but has no place among those named as {PurePosixPath(slices[0]).name}"
            raise FormatError(entries.path / name, found, "slices with a number each, and other pictures elsewhere")
    _require_one_folder(entries, slices, kind)
    _require_no_gap(entries, slices)
    source = _SliceSource(entries, tuple(slices), kind, (len(slices), *first.shape), first.dtype)
    why = f"a folder of {kind.name} slices does not say how far apart they are"
    notes = passed_over([*unlike, *beside])
    labels = replace(source, labels=True)
    stored = _read(entries, slices[0], kind, of=len(slices), labels=True)
    inverted = "" if np.array_equal(first, stored) else INTERPRETATION
    return Opened(source, None, why, notes=notes, labels=labels, inverted=inverted)


class _Stated(Exception):
    """Ends the reading of a picture at its size."""

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        self.size = size


def name_form(name: str) -> tuple[str, str] | None:
    """A name around its number, without suffix and in one case: what slices have in common. None without a number."""
    number = last_number(readable(name))
    if number is None:
        return None
    return number.before.casefold(), number.after.removesuffix(PurePosixPath(name).suffix).casefold()


def _numbered_alike(names: list[str]) -> list[str]:
    """Those that are the same but for a number, where these are most of all names; else all of them."""
    forms = {name: form for name in names if (form := name_form(name))}
    for form, count in Counter(forms.values()).most_common(1):
        if 2 * count > len(names):
            return [name for name in names if forms.get(name) == form]
    return names


def _stated_size(entries: Entries, name: str, kind: SliceKind) -> Size | None:
    """None for a file that cannot be a slice at all."""

    def stop(size: Size) -> None:
        raise _Stated(size)

    try:
        with entries.open(name) as file:
            kind.read(entries.path / name, file, stop, of=1, labels=False)
    except _Stated as stated:
        return stated.size
    except FormatError:
        pass
    return None


def _require_one_folder(entries: Entries, names: list[str], kind: SliceKind) -> None:
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    if len(folders) > 1:
        found = f"{kind.name} files in {len(folders)} folders: {', '.join(folders[:4])}"
        raise FormatError(entries.path, found, "one folder")


def _require_no_gap(entries: Entries, names: list[str]) -> None:
    found = [numbered for name in names if (numbered := last_number(name))]
    if len(found) < len(names) or len({name_form(name) for name in names}) != 1:
        return
    if any(len(numbered.digits) > _MOST_DIGITS for numbered in found):
        return
    numbers = [int(numbered.digits) for numbered in found]
    steps = np.diff(numbers)
    if len(steps) and steps.min() != steps.max():
        at = int(np.argmax(steps != np.min(steps)))
        raise FormatError(
            entries.path, f"no slices between {names[at]} and {names[at + 1]}", "slices whose numbers have no gap"
        )


def _read(
    entries: Entries, name: str, kind: SliceKind, *, of: int, like: NDArray[Any] | None = None, labels: bool = False
) -> NDArray[Any]:
    """The pixels, (Y, X), of a slice, which has to be of the size and type of `like`; None: it is the first."""
    path = entries.path / name

    def check(size: Size) -> None:
        if like is not None and size != like.shape:
            raise FormatError(path, f"{size}, the first slice {_form(like)}", "slices of one size and type")
        if int(np.prod(size, dtype=object)) > LARGEST_SLICE:
            raise FormatError(path, f"damaged, or a slice of {size} pixels", "slices of 1 GiB")

    with guarded(path, "reading the slice"), entries.open(name) as file:
        pixels = kind.read(path, file, check, of=of, labels=labels)
    if like is not None and pixels.dtype != like.dtype:
        raise FormatError(path, f"{_form(pixels)}, the first slice {_form(like)}", "slices of one size and type")
    return pixels


def _form(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape} {pixels.dtype}"


@dataclass(frozen=True)
class _SliceSource:
    entries: Entries
    names: tuple[str, ...]
    kind: SliceKind
    shape: Triple
    dtype: np.dtype[Any]
    labels: bool = False
    """Whether they are classes, and not grey values."""

    def read(self, start: int, stop: int) -> NDArray[Any]:
        slab = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for out, name in zip(slab, self.names[start:stop], strict=True):
            out[...] = _read(self.entries, name, self.kind, of=len(self.names), like=out, labels=self.labels)
        return slab
