"""Grids of chunks, whose size and number the metadata of a few bytes announces: those that are worth reading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from scans.formats.errors import FormatError

LARGEST_CHUNK = 1 << 30
"""Bytes of the largest chunk, unpacked."""
_CHUNK_OF_SMALL = 64 << 20
_TIMES_THE_ARRAY = 8
"""How much larger than its array a chunk may be, beyond chunks of a usual size."""
_MOST_SMALL_CHUNKS = 10_000
_SMALL_CHUNK = 4096
"""Bytes below which a chunk costs more by being one than by what is in it: also one that is not in the file."""


def require_sensible_chunks(
    path: Path, shape: Sequence[int], chunks: Sequence[int], item_bytes: int, *, shards: Sequence[int] | None = None
) -> None:
    """Raises FormatError for chunks that are larger than a chunk may be, or far larger than their array, and for very
    many that hold next to nothing: in the array or, where chunks lie in `shards`, in one of these.
    """
    size, whole = math.prod(chunks) * item_bytes, math.prod(shape) * item_bytes
    if size > LARGEST_CHUNK:
        raise FormatError(path, f"chunks of {size} bytes {tuple(chunks)}", "chunks of at most 1 GiB")
    if size > max(_CHUNK_OF_SMALL, _TIMES_THE_ARRAY * whole):
        raise FormatError(
            path, f"chunks of {tuple(chunks)} in an array of {tuple(shape)}", "chunks no larger than that"
        )
    held = math.prod(map(min, chunks, shape)) * item_bytes
    for extent in (shape, shards):
        count = math.prod(-(-side // chunk) for side, chunk in zip(extent, chunks, strict=True)) if extent else 0
        if count > _MOST_SMALL_CHUNKS and held < _SMALL_CHUNK:
            found = f"{count} chunks that hold {held} bytes {tuple(chunks)}"
            raise FormatError(path, found, f"chunks of at least {_SMALL_CHUNK} bytes: 64 x 64 x 64, for example")
