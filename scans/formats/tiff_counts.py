"""How many slices a TIFF says that it has, in its descriptions, compared with the pages that it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tifffile

from scans.formats.errors import WHOLE_FILE, FormatError
from scans.formats.tiff_spacing import ome_pixels

_ALL_SLICES = f"{WHOLE_FILE} whose description counts its own slices"
_MOST_DIGITS = 9


def require_stated_slices(path: Path, tiff: tifffile.TiffFile, series: Any) -> None:
    """Raises FormatError where the file says that it has another number of slices than it holds.

    A file whose only page is followed by the pixels of all others, as ImageJ writes large stacks, holds as many slices
    as tifffile finds there; whether there are bytes enough for them is the caller's to see.
    """
    page = series.keyframe
    planes = math.prod(series.shape) // max(1, math.prod(page.shape))
    pages = len(tiff.pages)
    held = planes if pages == 1 and series.dataoffset is not None else pages
    if planes > held:
        raise differing(path, planes, held)
    for stated in stated_slices(tiff):
        if stated != held:
            raise differing(path, stated, held)


def require_one_of(path: Path, tiff: tifffile.TiffFile, files: int) -> None:
    """Raises FormatError where a file of one page, one of so many, says that it has more slices than these, or fewer.

    Programs that take a stack apart leave its description in the parts.
    """
    for stated in stated_slices(tiff):
        if stated not in (1, files):
            raise differing(path, stated, 1 if files == 1 else files)


def differing(path: Path, stated: int, held: int) -> FormatError:
    """For a file that has another number of slices than it says."""
    return FormatError(path, f"states {stated} slices, holds {held}", _ALL_SLICES)


def stated_slices(tiff: tifffile.TiffFile) -> Iterator[int]:
    """Each number of slices, channels and times together, that the descriptions of the first page state."""
    fields = tiff.imagej_metadata or {}
    yield from _product([fields.get("images")])
    yield from _product([fields[name] for name in ("channels", "slices", "frames") if name in fields])
    description = str(getattr(tiff.pages.first, "description", ""))
    if "<OME" in description:
        pixels = ome_pixels(description)
        yield from _product([pixels.get(f"Size{axis}") for axis in "ZCT"])
    elif tiff.is_shaped:
        shape = (tiff.shaped_metadata or ({},))[0].get("shape", ())
        page = math.prod(tiff.pages.first.shape)
        yield from (stated // page for stated in _product(list(shape)))


def _product(numbers: list[Any]) -> Iterator[int]:
    """Nothing where one of them is missing, or no whole number."""
    texts = [str(number) for number in numbers]
    if texts and all(text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS for text in texts):
        yield math.prod(map(int, texts))
