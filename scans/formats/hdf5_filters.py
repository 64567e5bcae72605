"""The filters of HDF5 chunks: those that are read, and none of them unpacks more than its chunk holds.

Synchrotrons' filters come from hdf5plugin, which makes as much room as the packed bytes ask for: what each chunk states
is compared with the chunk's size before anything is unpacked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import h5py

from scans.formats.errors import WHOLE_FILE, FormatError
from scans.formats.hdf5_packed import UNBOUNDED, name_of

_SHUFFLE = 2
_ARRANGING = frozenset({_SHUFFLE, 3})
"""Shuffle and fletcher32, which add no more than a checksum."""
_NAMES = {
    4: "szip", 5: "nbit", 6: "scale-offset", 305: "LZO", 307: "bzip2", 32013: "ZFP", 32017: "SZ", 32018: "FCIDECOMP",
    32024: "SZ3", 32026: "Blosc2", 32028: "SPERR", 32033: "HTJ2K",
}  # fmt: skip
_ACCEPTED = "HDF5 with gzip, LZF, Blosc, bitshuffle, LZ4 or Zstandard: `h5repack -f GZIP=4 OLD NEW` makes one"
_HEADER_BYTES = 20
_BESIDE_VOXELS = 64
"""Bytes of checksums that may be packed with the voxels."""
_PACKING = 4
"""Of bitshuffle's parameters: what packs the shuffled bits, 0 or missing if nothing does."""
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def _blosc(header: bytes) -> int | None:
    return int.from_bytes(header[4:8], "little")


def _big_endian(header: bytes) -> int | None:
    return int.from_bytes(header[:8], "big")


def _zstandard(header: bytes) -> int | None:
    """None where the frame does not state it."""
    if header[:4] != _ZSTANDARD:
        return None
    descriptor = header[4]
    single = descriptor >> 5 & 1
    at = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    length = (single, 2, 4, 8)[descriptor >> 6]
    size = int.from_bytes(header[at : at + length], "little") + (256 if length == 2 else 0)
    return size if length else None


_BITSHUFFLE = 32008
_STATED: dict[int, Callable[[bytes], int | None]] = {
    32001: _blosc,
    32004: _big_endian,
    _BITSHUFFLE: _big_endian,
    32015: _zstandard,
}
"""Filters of hdf5plugin, with what says how many bytes a chunk unpacks to, by its first bytes."""


def require_bounded_filters(path: Path, data: h5py.Dataset) -> None:
    """Raises FormatError for filters that are not read, by name, and for chunks that state more than a chunk holds."""
    properties = data.id.get_create_plist()
    filters = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    for code, *_ in filters:
        if code not in _ARRANGING | set(UNBOUNDED) | set(_STATED):
            name = _NAMES.get(code, f"number {code}")
            raise FormatError(path, f"data set {name_of(data)} is packed with the filter {name}", _ACCEPTED)
    packers = [number for number, (code, *_) in enumerate(filters) if code not in _ARRANGING]
    if len(packers) > 1:
        raise FormatError(path, f"data set {name_of(data)} is packed {len(packers)} times", "data that is packed once")
    if packers and any(code == _SHUFFLE for code, *_ in filters[packers[0] :]):
        found = f"data set {name_of(data)} is shuffled after it was packed"
        raise FormatError(path, found, "data that is shuffled first: `h5repack` makes such a file")
    if not filters:
        return
    size = math.prod(data.chunks) * data.dtype.itemsize
    _require_packed_sizes(path, data, size)
    for number in packers:
        code, _, values, _ = filters[number]
        if code in _STATED:
            import hdf5plugin  # noqa: F401, PLC0415 - it makes its filters known to HDF5; few files need it

            if code != _BITSHUFFLE or (values[_PACKING:] and values[_PACKING]):
                _require_stated_sizes(path, data, _STATED[code], packer=number, most=size + _BESIDE_VOXELS)


def _require_packed_sizes(path: Path, data: h5py.Dataset, size: int) -> None:
    """A stored chunk may take a little more than what it unpacks to; one that takes much more is something else."""
    most = size + size // 8 + 4096
    oversized: list[int] = []
    data.id.chunk_iter(lambda chunk: oversized.append(chunk.size) if chunk.size > most else None)
    if oversized:
        raise FormatError(path, f"a chunk of {size} bytes that is stored in {oversized[0]}", WHOLE_FILE)


def _require_stated_sizes(
    path: Path, data: h5py.Dataset, stated: Callable[[bytes], int | None], *, packer: int, most: int
) -> None:
    """Looks at the first bytes of every chunk that passed the packing filter, the one of this number."""
    places: list[int] = []
    data.id.chunk_iter(lambda chunk: None if chunk.filter_mask >> packer & 1 else places.append(chunk.byte_offset))
    with path.open("rb") as file:
        for place in places:
            file.seek(place)
            found = stated(file.read(_HEADER_BYTES).ljust(_HEADER_BYTES, b"\0"))
            if found is None or found > most:
                said = "does not state what it unpacks to" if found is None else f"states {found} bytes"
                raise FormatError(path, f"damaged: a chunk of {most - _BESIDE_VOXELS} bytes {said}", WHOLE_FILE)
