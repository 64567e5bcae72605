"""Windows of slices: what is decoded to cut one are the chunks that it touches, and those are kept up to a limit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.prepared import SliceReader

Kind = Literal["image", "labels"]


class Rectangle(NamedTuple):
    """Of a slice: the first row and column, and those after the last."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def of_slice(self) -> tuple[slice, slice]:
        """What cuts it out of a (Y, X) array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def seen_from(self, top: int, left: int) -> Rectangle:
        """The same with that pixel as the first."""
        return Rectangle(self.top - top, self.left - left, self.bottom - top, self.right - left)

    def shared_with(self, other: Rectangle) -> Rectangle:
        """What is in both, of which there must be something."""
        return Rectangle(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )


_Key = tuple[str, Kind, int, int, int]
"""Volume, array, slice, and which chunk along rows and columns."""


class PatchReader:
    """Rectangles of slices of prepared volumes, in any order; decoded chunks are kept up to a limit."""

    def __init__(self, slices: SliceReader, *, cache_megabytes: int) -> None:
        self.slices = slices
        """What opens the volumes."""
        self._limit = cache_megabytes * 1_000_000
        self._cached = 0
        self._chunks: OrderedDict[_Key, NDArray[Any]] = OrderedDict()

    def whole(self, volume_id: str, kind: Kind, slice_index: int) -> NDArray[Any]:
        """A slice, (Y, X)."""
        rows, columns = self.slices.array(volume_id, kind).shape[1:]
        return self.window(volume_id, kind, slice_index, Rectangle(0, 0, rows, columns))

    def window(self, volume_id: str, kind: Kind, slice_index: int, wanted: Rectangle) -> NDArray[Any]:
        """The pixels of a rectangle that lies within the slice, (rows, columns), in the type they are stored in."""
        array = self.slices.array(volume_id, kind)
        if wanted.bottom <= wanted.top or wanted.right <= wanted.left:
            return np.empty((max(wanted.bottom - wanted.top, 0), max(wanted.right - wanted.left, 0)), array.dtype)
        if not self._limit:
            return np.asarray(array[slice_index, *wanted.of_slice])
        side = _chunk_of(array)
        touched = {
            (volume_id, kind, slice_index, row, column): self._chunk_section(array, row, column, side)
            for row, column in _grid(wanted, side)
        }
        read = self._read(array, slice_index, touched)
        window = np.empty((wanted.bottom - wanted.top, wanted.right - wanted.left), array.dtype)
        for key, section in touched.items():
            shared = section.shared_with(wanted)
            chunk = read[key][shared.seen_from(section.top, section.left).of_slice]
            window[shared.seen_from(wanted.top, wanted.left).of_slice] = chunk
        self._forget()
        return window

    def _read(self, array: Any, slice_index: int, touched: dict[_Key, Rectangle]) -> dict[_Key, NDArray[Any]]:
        """The chunks: those that are not kept are read at once, as the rectangle around them."""
        missing = [key for key in touched if key not in self._chunks]
        if missing:
            tops, lefts, bottoms, rights = zip(*(touched[key] for key in missing), strict=True)
            around = Rectangle(min(tops), min(lefts), max(bottoms), max(rights))
            decoded = np.asarray(array[slice_index, *around.of_slice])
            for key in missing:
                self._chunks[key] = decoded[touched[key].seen_from(around.top, around.left).of_slice].copy()
                self._cached += self._chunks[key].nbytes
        for key in touched:
            self._chunks.move_to_end(key)
        return {key: self._chunks[key] for key in touched}

    def _forget(self) -> None:
        while self._cached > self._limit:
            self._cached -= self._chunks.popitem(last=False)[1].nbytes

    @staticmethod
    def _chunk_section(array: Any, row: int, column: int, side: tuple[int, int]) -> Rectangle:
        rows, columns = array.shape[1:]
        bottom, right = min((row + 1) * side[0], rows), min((column + 1) * side[1], columns)
        return Rectangle(row * side[0], column * side[1], bottom, right)


def _chunk_of(array: Any) -> tuple[int, int]:
    """Rows and columns of a chunk; the whole slice where an array names none."""
    _, rows, columns = getattr(array, "chunks", None) or array.shape
    return int(rows), int(columns)


def _grid(wanted: Rectangle, side: tuple[int, int]) -> Iterator[tuple[int, int]]:
    rows = range(wanted.top // side[0], -(-wanted.bottom // side[0]))
    return product(rows, range(wanted.left // side[1], -(-wanted.right // side[1])))
