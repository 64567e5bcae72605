"""Which slices of a Zarr array have chunks; a writer may leave out those that hold nothing but the fill value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import zarr
from zarr.core.sync import sync

from scans.formats.sources import Opened

_LONGEST_INDEX = 12
"""Digits."""
_MOST_NAMED = 4


def slices_without_chunks(array: zarr.Array[Any], axis: int) -> list[range]:
    """The ranges of slices along an axis of which no chunk is there, nothing of them having been written.

    Costs a listing of the files, not of the chunks that the metadata announces.
    """
    depth, stated = (array.shards or array.chunks)[axis], int(array.shape[axis])
    found = sync(_indices(array, axis))
    ends = [*sorted(number for number in found if number * depth < stated), -(-stated // depth)]
    starts = [0, *(number + 1 for number in ends[:-1])]
    gaps = [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
    return [range(start * depth, min(end * depth, stated)) for start, end in gaps]


def with_missing(opened: Opened, missing: list[range]) -> Opened:
    """Says which slices of a scan have no chunk; one that has none at all is not written."""
    if not missing:
        return opened
    stated = opened.source.shape[0]
    held = stated - sum(map(len, missing))
    if not held:
        return replace(opened, unwritten=f"states {stated} slices, holds none: no chunk of them is there")
    shown = missing[:_MOST_NAMED]
    named = ", ".join(f"{one[0]}" if len(one) == 1 else f"{one[0]} to {one[-1]}" for one in shown)
    more = ", ..." if len(missing) > _MOST_NAMED else ""
    note = f"states {stated} slices, holds chunks of {held}; of slices {named}{more} none is there, and they are empty"
    return replace(opened, notes=(*opened.notes, note))


async def _indices(array: zarr.Array[Any], axis: int) -> set[int]:
    """Of chunks, or shards, along the axis."""
    prefix, found = f"{array.path}/" if array.path else "", set[int]()
    async for key in array.store.list_prefix(prefix):
        parts = key[len(prefix) :].replace(".", "/").removeprefix("c/").split("/")
        if len(parts) == array.ndim and all(part.isdecimal() and len(part) <= _LONGEST_INDEX for part in parts):
            found.add(int(parts[axis]))
    return found
