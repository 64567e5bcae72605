"""Chunks of HDF5 whose filters make room for whatever comes out: gzip and LZF. They are unpacked boundedly first.

gzip makes a thousand bytes of one, LZF begins again with more room until all fits, and neither asks how large a chunk
is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from scans.formats.errors import WHOLE_FILE, FormatError

_PIECE_BYTES = 1 << 16
_CHECKSUM_BYTES = 4
"""Of fletcher32, the only filter that may follow one that packs."""
_BESIDE_VOXELS = 64
"""Bytes of checksums that may be packed with the voxels."""


def _fits_gzip(packed: bytes, most: int) -> bool:
    decoder, view, unpacked = isal_zlib.decompressobj(), memoryview(packed), 0
    for at in range(0, len(packed), _PIECE_BYTES):
        unpacked += len(decoder.decompress(view[at : at + _PIECE_BYTES]))
        if decoder.eof or unpacked > most:
            break
    return unpacked <= most


def _fits_lzf(packed: bytes, most: int) -> bool:
    try:
        imagecodecs.lzf_decode(packed, out=most, header=False)
    except imagecodecs.LzfError:
        return False
    return True


UNBOUNDED: dict[int, Callable[[bytes, int], bool]] = {1: _fits_gzip, 32000: _fits_lzf}
"""By the number of a filter, whether a chunk unpacks to no more than so many bytes."""


def name_of(data: h5py.Dataset) -> str:
    """A data set's name, from the file's root, without the slash that would make it look like a path of the machine."""
    return str(data.name).removeprefix("/")


@dataclass(frozen=True)
class PackedChunks:
    """The chunks of a data set that a filter of UNBOUNDED has packed."""

    path: Path
    data: h5py.Dataset
    axis: int
    """Along which slices are counted."""
    offsets: NDArray[np.int64]
    """(chunks, axes) first voxel of each."""
    fits: Callable[[bytes, int], bool]
    following: int
    """Bytes of checksums that follow what is packed in each."""

    @classmethod
    def of(cls, path: Path, data: h5py.Dataset, axis: int) -> PackedChunks | None:
        """None where no such filter has packed any."""
        properties = data.id.get_create_plist()
        codes = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
        packer = next((number for number, code in enumerate(codes) if code in UNBOUNDED), None)
        if packer is None:
            return None
        places: list[tuple[int, ...]] = []

        def note(chunk: Any) -> None:
            if not chunk.filter_mask >> packer & 1:
                places.append(chunk.chunk_offset)

        data.id.chunk_iter(note)
        offsets = np.array(places, np.int64).reshape(len(places), data.ndim)
        following = _CHECKSUM_BYTES * (len(codes) - 1 - packer)
        return cls(path, data, axis, offsets, UNBOUNDED[codes[packer]], following)

    def require_bounded(self, start: int, stop: int) -> None:
        """Raises FormatError where a chunk of slices [start, stop) unpacks to more than a chunk holds, or is cut."""
        size = math.prod(self.data.chunks) * self.data.dtype.itemsize
        first = self.offsets[:, self.axis]
        for offset in self.offsets[(first < stop) & (first + self.data.chunks[self.axis] > start)]:
            _, stored = self.data.id.read_direct_chunk(tuple(map(int, offset)))
            if not self.fits(stored[: len(stored) - self.following], size + _BESIDE_VOXELS):
                raise FormatError(self.path, f"damaged: a chunk of {size} bytes that unpacks to more", WHOLE_FILE)
