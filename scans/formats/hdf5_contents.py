"""What is in an HDF5 file, looked at with limits on number and depth, and whether its chunks can be read."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path

import h5py

from scans.formats.errors import WHOLE_FILE, FormatError

_MOST_OBJECTS = 10_000
_MOST_DEPTH = 32
_LARGEST_CHUNK = 1 << 30
_CHUNK_OF_SMALL = 64 << 20
_TIMES_THE_DATA = 8
"""How much larger than its data set a chunk may be, beyond chunks of a usual size."""

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "LZF"}
_OTHER_FILTERS = {
    4: "szip", 5: "nbit", 6: "scale-offset", 307: "bzip2", 32001: "blosc", 32004: "LZ4", 32008: "bitshuffle",
    32013: "ZFP", 32015: "Zstandard", 32026: "blosc2",
}  # fmt: skip
_ACCEPTED = "HDF5 with gzip or LZF: `h5repack -f GZIP=4 OLD NEW` makes one"


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
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
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


def require_sensible_chunks(path: Path, data: h5py.Dataset) -> None:
    """Raises FormatError for filters that are not read, by name, and for chunks that are far larger than the data.

    A stored chunk may take a little more than what it unpacks to, where it could not be packed; one that takes much
    more unpacks to something else.
    """
    properties = data.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code = properties.get_filter(number)[0]
        if code not in _FILTERS:
            name = _OTHER_FILTERS.get(code, f"number {code}")
            raise FormatError(path, f"data set {data.name} packed with the filter {name}", _ACCEPTED)
    if data.chunks is None:
        return
    packed = properties.get_nfilters() > 0
    size, whole = math.prod(data.chunks) * data.dtype.itemsize, math.prod(data.shape) * data.dtype.itemsize
    if size > _LARGEST_CHUNK:
        raise FormatError(path, f"chunks of {size} bytes {data.chunks}", "chunks of at most 1 GiB")
    if size > max(_CHUNK_OF_SMALL, _TIMES_THE_DATA * whole):
        raise FormatError(path, f"chunks of {data.chunks} in data of {data.shape}", "chunks no larger than that")
    most = size + size // 8 + 4096
    oversized: list[int] = []
    if packed:
        data.id.chunk_iter(lambda chunk: oversized.append(chunk.size) if chunk.size > most else None)
    if oversized:
        raise FormatError(path, f"a chunk of {size} bytes that is stored in {oversized[0]}", WHOLE_FILE)
