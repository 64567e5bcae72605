"""What is in an HDF5 file, looked at with limits on number and depth, and whether its chunks can be read."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import h5py

from scans.formats.chunk_grids import require_sensible_chunks
from scans.formats.errors import FormatError
from scans.formats.hdf5_filters import require_bounded_filters
from scans.formats.hdf5_packed import name_of

_MOST_OBJECTS = 10_000
_MOST_DEPTH = 32


def data_sets(path: Path, file: h5py.File) -> list[h5py.Dataset]:
    """Every data set that is in the file itself, each once; links to other files are not followed.

    Raises FormatError for more groups and data sets, or deeper ones, than a file of one scan has.
    """
    found: list[h5py.Dataset] = []
    seen = {h5py.h5o.get_info(file.id).addr}
    groups: deque[tuple[h5py.Group, int]] = deque([(file, 0)])
    while groups:
        group, depth = groups.popleft()
        for name in group:
            if link_kind(group, name) != h5py.h5l.TYPE_HARD:
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _MOST_OBJECTS or depth >= _MOST_DEPTH:
                accepted = f"at most {_MOST_OBJECTS} groups and data sets, {_MOST_DEPTH} deep"
                raise FormatError(path, "an HDF5 file of many groups and data sets", accepted)
            if isinstance(item, h5py.Dataset):
                found.append(item)
            elif isinstance(item, h5py.Group):
                groups.append((item, depth + 1))
    return sorted(found, key=lambda data: str(data.name))


def link_kind(group: h5py.Group, name: str) -> int | None:
    """HDF5's number of a link's kind, without a look at what it leads to; None where there is no such link."""
    encoded = name.encode("utf-8", "surrogateescape")
    return int(group.id.links.get_info(encoded).type) if group.id.links.exists(encoded) else None


def require_readable_chunks(path: Path, data: h5py.Dataset) -> None:
    """Raises FormatError for filters that are not read, by name, and for chunks too large, or too small and many."""
    if data.chunks is None:
        return
    require_sensible_chunks(path, data.shape, data.chunks, data.dtype.itemsize)
    require_bounded_filters(path, data)


def unwritten_slices(data: h5py.Dataset, axis: int) -> str:
    """Which slices along an axis have no voxel in the file, in words; empty where each has some.

    HDF5 makes room for a chunk when it is first written. What was never written reads as if it were there.
    """
    stated = int(data.shape[axis])
    if data.chunks is None:
        missing = stated if data.id.get_offset() is None and not _is_compact(data) else 0
        return f"data set {name_of(data)} states {stated} slices, holds {stated - missing}" if missing else ""
    depth, written = data.chunks[axis], set[int]()
    data.id.chunk_iter(lambda chunk: written.add(chunk.chunk_offset[axis] // depth))
    absent = [number for number in range(-(-stated // depth)) if number not in written]
    missing = sum(min(depth, stated - number * depth) for number in absent)
    if not missing:
        return ""
    first = absent[0] * depth
    return (
        f"data set {name_of(data)} states {stated} slices, holds {stated - missing}: none was written at slice {first}"
    )


def _is_compact(data: h5py.Dataset) -> bool:
    return bool(data.id.get_create_plist().get_layout() == h5py.h5d.COMPACT)
