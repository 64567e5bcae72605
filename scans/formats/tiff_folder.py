"""Single-page TIFF files as the slices of a volume, in natural order of their names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from scans.formats.entries import Entries
from scans.formats.errors import GREY_VALUES, FormatError, silence
from scans.formats.numbered_names import last_number
from scans.formats.sources import Opened
from scans.formats.tiff import read_slice
from scans.formats.tiff_counts import require_one_of
from scans.formats.tiff_pages import count_pages
from scans.geometry import Triple

_MOST_DIGITS = 18
"""Of the number of a slice; what is longer is a date or an identifier."""


@dataclass(frozen=True)
class _Form:
    """What all slices of a volume have in common."""

    size: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.size} {self.dtype}"


def open_tiff_slices(entries: Entries, names: list[str]) -> Opened:
    """The volume whose slices are these files. A folder of slices states no spacing.

    Raises FormatError for files in several folders, for a gap in their numbers, and, when it is read, for a slice of
    another size or type.
    """
    silence("tifffile")
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    if len(folders) > 1:
        raise FormatError(entries.path, f"TIFF files in {len(folders)} folders: {', '.join(folders[:4])}", "one folder")
    _require_no_gap(entries, names)
    first = _read_slice(entries, names[0], of=len(names))
    source = _SliceSource(entries, tuple(names), (len(names), *first.shape), first.dtype)
    why = "a folder of TIFF slices does not say how far apart they are"
    return Opened(source, None, why, labels=replace(source, labels=True))


def _require_no_gap(entries: Entries, names: list[str]) -> None:
    found = [numbered for name in names if (numbered := last_number(name))]
    if len(found) < len(names) or len({(numbered.before, numbered.after) for numbered in found}) != 1:
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


def _read_slice(
    entries: Entries, name: str, *, of: int, like: _Form | None = None, labels: bool = False
) -> NDArray[Any]:
    """The pixels, (Y, X), of a file of one page, which has to be `like` the first slice; None: it is the first.

    It is one `of` so many; its description may count itself, or all of them.
    """
    path = entries.path / name
    with entries.open(name) as file:
        pages = count_pages(path, file)
        with tifffile.TiffFile(file, name=name, _multifile=False) as tiff:
            page = tiff.pages[0]
            if pages != 1:
                raise FormatError(path, f"{pages} pages in a folder of slices", "one page in each file")
            if len(page.shape) != 2:
                raise FormatError(path, f"a colour picture, {page.axes} of {page.shape}", GREY_VALUES)
            if like is not None and page.shape != like.size:  # before it is unpacked
                raise _another_form(path, _Form(page.shape, page.dtype or np.dtype(bool)), like)
            require_one_of(path, tiff, of)
            pixels = read_slice(path, page, labels=labels)
    if like is not None and pixels.dtype != like.dtype:
        raise _another_form(path, _Form(pixels.shape, pixels.dtype), like)
    return pixels


def _another_form(path: Path, found: _Form, first: _Form) -> FormatError:
    return FormatError(path, f"{found}, the first slice {first}", "slices of one size and type")


@dataclass(frozen=True)
class _SliceSource:
    entries: Entries
    names: tuple[str, ...]
    shape: Triple
    dtype: np.dtype[Any]
    labels: bool = False
    """Whether they are classes, and not grey values."""

    def read(self, start: int, stop: int) -> NDArray[Any]:
        first = _Form(self.shape[1:], self.dtype)
        slab = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for out, name in zip(slab, self.names[start:stop], strict=True):
            out[...] = _read_slice(self.entries, name, of=len(self.names), like=first, labels=self.labels)
        return slab
