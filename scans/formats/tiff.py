"""TIFF of many pages (plain, BigTIFF, ImageJ, OME-TIFF), read page by page."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from scans.formats.beside import VoxelFile
from scans.formats.errors import ONE_VOLUME, WHOLE_FILE, FormatError, how_to_name, silence
from scans.formats.polarity import high_is_bright, inverted
from scans.formats.sources import Opened, VoxelSource
from scans.formats.streams import Layout
from scans.formats.tiff_compression import require_decodable
from scans.formats.tiff_counts import require_stated_slices
from scans.formats.tiff_ome import require_sensible_planes
from scans.formats.tiff_pages import count_pages
from scans.formats.tiff_polarity import INTERPRETATION, bits_of, interpretation, is_mask, low_is_bright
from scans.formats.tiff_spacing import frame_of_tiff, require_short_description
from scans.geometry import Triple

_STACK_AXES = "ZIQ"
"""tifffile's letters for depth, and for pages of which nothing is said."""

_EXCHANGED = {"frames": "T", "channels": "C"}
"""What programs have called slices by mistake: ImageJ's words for them, and tifffile's letters."""


def open_tiff(path: Path, stack: ExitStack, dataset: str | None = None) -> Opened:
    """A TIFF file whose pages are the slices; `dataset` is "frames" or "channels" where these are meant to be.

    Raises FormatError for colour, channels, time and several images.
    """
    silence("tifffile")
    with path.open("rb") as file:
        pages = count_pages(path, file)
    tiff = stack.enter_context(tifffile.TiffFile(path, _multifile=False))
    require_short_description(path, tiff, pages=pages)
    require_sensible_planes(path, tiff, pages=pages)
    if len(tiff.pages) != pages:
        raise FormatError(path, f"damaged: {len(tiff.pages)} of {pages} pages can be read", WHOLE_FILE)
    if len(tiff.series) != 1:
        listed = ", ".join(" x ".join(str(n) for n in series.shape) for series in tiff.series[:5])
        raise FormatError(path, f"{len(tiff.series)} images of different size or type: {listed}", ONE_VOLUME)
    series = tiff.series[0]
    shape = _shape(path, series, dataset)
    require_stated_slices(path, tiff, series)
    stored = _source(path, tiff, shape, stack)
    opened = Opened.placed(stored, partial(frame_of_tiff, tiff))
    page = series.keyframe
    if not low_is_bright(path, page):
        return opened
    return high_is_bright(opened, INTERPRETATION, bits=bits_of(page), mask=is_mask(page))


def _shape(path: Path, series: tifffile.TiffPageSeries, exchanged: str | None) -> Triple:
    axes = [(name, int(size)) for name, size in zip(series.axes, series.shape, strict=True)]
    if any(size == 0 for _, size in axes):
        raise FormatError(path, f"empty: axes of {_named(axes)}", f"{ONE_VOLUME}, none of them of size 0")
    long = [(name, size) for name, size in axes if size > 1 or name in "YX"]
    names = "".join(name for name, _ in long)
    if exchanged is not None:
        if names != f"{_EXCHANGED.get(exchanged.lower())}YX":
            found = f"axes of {_named(axes)}, where its slices are said to be {exchanged[:80]!r}"
            accepted = "frames or channels, where a TIFF has these in the place of slices; nothing for others"
            raise FormatError(path, found, accepted)
        names = "ZYX"
    if len(names) == 2 and names == "YX":
        return (1, long[0][1], long[1][1])
    if len(names) != 3 or names[0] not in _STACK_AXES or names[1:] != "YX":
        raise FormatError(path, f"axes of {_named(axes)}", f"{ONE_VOLUME}{_swap(names, long[0][1])}")
    z, y, x = (size for _, size in long)
    return (z, y, x)


def _swap(names: str, count: int) -> str:
    """What to do with a stack whose slices a program has called times or channels; empty for other axes."""
    called = next((called for called, letter in _EXCHANGED.items() if names == f"{letter}YX"), None)
    if called is None:
        return ""
    return (
        f"; if the {called} are the slices of a scan, say so: {how_to_name(called)}; or exchange them: in Fiji, "
        f"Image > Properties, Slices {count}, {called.capitalize()} 1, then save it again; with tifffile, "
        "metadata={'axes': 'ZYX'}"
    )


def _named(axes: list[tuple[str, int]]) -> str:
    full = {
        "T": "time",
        "C": "channels",
        "S": "samples (colour)",
        "Z": "z",
        "Y": "y",
        "X": "x",
        "I": "pages",
        "Q": "pages",
    }
    return ", ".join(f"{full.get(name, name)} {size}" for name, size in axes)


def _source(path: Path, tiff: tifffile.TiffFile, shape: Triple, stack: ExitStack) -> VoxelSource:
    series = tiff.series[0]
    if series.dataoffset is not None:
        stored = np.dtype(series.dtype).newbyteorder(">" if tiff.byteorder == ">" else "<")
        return Layout(VoxelFile.of(path), shape, stored, offset=int(series.dataoffset), ends_file=False).open(stack)
    if len(series.pages) != shape[0]:
        raise FormatError(path, f"{len(series.pages)} pages for {shape[0]} slices", "one page per slice")
    return _PageSource(path, series, shape, np.dtype(series.dtype))


@dataclass(frozen=True)
class _PageSource:
    path: Path
    series: tifffile.TiffPageSeries
    shape: Triple
    dtype: np.dtype[Any]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        slab = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for index, out in enumerate(slab, start):
            page = self.series.pages[index]
            if page is None:
                raise FormatError(self.path, f"the page of slice {index} is not in the file", WHOLE_FILE)
            if interpretation(page) != interpretation(self.series.keyframe):
                raise FormatError(self.path, f"page {page.index} has another {INTERPRETATION}", "one for all pages")
            out[...] = read_page(self.path, page, self.shape[1:])
        return slab


def read_page(path: Path, page: Any, size: tuple[int, int]) -> NDArray[Any]:
    """The pixels of one page, (Y, X). Raises FormatError where a part of them lies outside the file."""
    end = page.parent.filehandle.size
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if count == 0 or offset + count > end:
            raise FormatError(path, f"truncated: page {page.index} lies beyond the end of the file", WHOLE_FILE)
    require_decodable(path, page)
    pixels: NDArray[Any] = page.asarray(maxworkers=1)
    return pixels.reshape(size)


def read_slice(path: Path, page: Any, *, labels: bool) -> NDArray[Any]:
    """The pixels, (Y, X), of a page that is a slice by itself: high is bright, but for labels that are no mask."""
    pixels = read_page(path, page, page.shape)
    if low_is_bright(path, page) and (is_mask(page) or not labels):
        return inverted(pixels, bits=bits_of(page))
    return pixels
