"""Bytes of a file from any offset: straight from disk, or out of a compressed stream that is decoded once, in order."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from scans.formats.beside import VoxelFile
from scans.formats.errors import WHOLE_FILE, FormatError
from scans.geometry import Triple

_GREATEST_RATIO = 1100
"""Deflate packs at most 1032 to 1."""

_GZIP_START = 1 << 15
_PIECE = 1 << 20
_SCALED_AT_ONCE = 1 << 20
_TRAILING_BYTES = 1 << 20
"""That may follow the last voxel, if they are fewer than a slice: some programs fill the last block of a file."""


class ByteStream(Protocol):
    """Bytes by offset."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fills the buffer from `offset` on; returns how many bytes there were."""
        ...

    def finish(self) -> None:
        """Called after the last voxel: checks what can only be checked at the end."""
        ...


@dataclass
class PlainBytes:
    """A file as it lies on disk."""

    file: BinaryIO

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fills the buffer from `offset` on; returns how many bytes there were."""
        self.file.seek(offset)
        return _fill(self.file, buffer)

    def finish(self) -> None:
        """Nothing to check: a plain file has no checksum."""


@dataclass
class DecodedBytes:
    """A compressed file, decoded once from front to back; going backwards starts again. Holds one piece."""

    file: VoxelFile
    offset: int
    """Where the compressed stream begins."""
    decoder: Callable[[BinaryIO], Any] | None
    """Decodes from where a file stands; None: the file is plain, but is itself unpacked as it is read."""
    fewest_too_many: int
    """Bytes after the last voxel that are no mere filling."""
    _opened: BinaryIO | None = None
    _decoder: BufferedIOBase | None = None
    _position: int = 0
    _finished: bool = False

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fills the buffer from `offset` on; returns how many bytes there were."""
        if offset < self._position:
            self.close()
        decoder = self._decoder or self._restart()
        while self._position < offset:
            skipped = len(decoder.read(min(_PIECE, offset - self._position)))
            if not skipped:
                return 0
            self._position += skipped
        count = _fill(decoder, buffer)
        self._position += count
        return count

    def finish(self) -> None:
        """Decodes to the end, where the checksum is; raises FormatError if more than the voxels follows."""
        if self._finished or self._decoder is None:
            return
        beyond = 0
        while piece := self._decoder.read(_PIECE):
            beyond += len(piece)
            self._position += len(piece)
            if beyond >= self.fewest_too_many:
                found = "holds more slices than it states: more data follows after the last voxel that the header names"
                raise FormatError(self.file.path, found, WHOLE_FILE)
        self._finished = True

    def close(self) -> None:
        """Closes the decoder; a later read starts again."""
        for stream in (self._decoder, self._opened):
            if stream is not None:
                stream.close()
        self._decoder = self._opened = None

    def _restart(self) -> BufferedIOBase:
        opened = self._opened = self.file.open()
        while (left := self.offset - opened.tell()) and opened.read(min(left, _PIECE)):
            pass
        started: BufferedIOBase = self.decoder(opened) if self.decoder else opened  # type: ignore[assignment]
        self._decoder, self._position = started, 0
        return started


def gzip_start(path: Path, file: BinaryIO, count: int) -> bytes:
    """The first `count` decoded bytes of a gzip file from its beginning, fewer where it holds fewer.

    Little of it is looked at. Raises FormatError for one whose content begins later, EOFError and zlib.error for one
    that is cut or damaged.
    """
    packed, more = file.read(_GZIP_START), bool(file.read(1))
    found, ended = b"", False
    while packed and len(found) < count:
        decoder = zlib.decompressobj(wbits=31)
        found += decoder.decompress(packed, count - len(found))
        packed, ended = decoder.unused_data, decoder.eof
    if len(found) < count and more:
        raise FormatError(path, f"gzip without content in its first {_GZIP_START} bytes", WHOLE_FILE)
    if len(found) < count and not ended:
        raise EOFError("the gzip stream ends too early")
    return found


def _fill(file: BinaryIO | BufferedIOBase, buffer: memoryview) -> int:
    filled = 0
    while filled < len(buffer):
        count = file.readinto(buffer[filled : filled + _PIECE])  # type: ignore[union-attr]
        if not count:
            break
        filled += count
    return filled


@dataclass(frozen=True)
class Scale:
    """Grey value = stored value x slope + intercept."""

    slope: float
    intercept: float

    def apply(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Stored values (Z, Y, X) -> float32 of that shape, worked out in float64, a million or so at a time."""
        scaled = np.empty(stored.shape, np.float32)
        rows = max(1, _SCALED_AT_ONCE // max(stored.shape[2], 1))
        with np.errstate(over="ignore", invalid="ignore"):
            for out, plane in zip(scaled, stored, strict=True):
                for top in range(0, len(plane), rows):
                    band = plane[top : top + rows].astype(np.float64)
                    out[top : top + rows] = band * self.slope + self.intercept
        return scaled


@dataclass(frozen=True)
class FlatSource:
    """Voxels that lie one after another, x fastest, from `offset` on: NIfTI, NRRD, MetaImage."""

    path: Path
    stream: ByteStream
    offset: int
    shape: Triple
    stored: np.dtype[Any]
    scale: Scale | None = None
    dtype: np.dtype[Any] = field(init=False)

    @property
    def plain(self) -> bool:
        """Whether the file holds the voxels as they are, one after another: a slab is read from its place."""
        return isinstance(self.stream, PlainBytes)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(np.float32) if self.scale else self.stored)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop). Raises FormatError where the file ends too early."""
        slab = np.empty((stop - start, *self.shape[1:]), self.stored)
        first = self.offset + start * slab[0].nbytes
        count = self.stream.read_into(first, slab.reshape(-1).view(np.uint8).data)
        if count < slab.nbytes:
            held = start + count // slab[0].nbytes
            found = f"truncated: states {self.shape[0]} slices, holds {held}: the voxels end in slice {held}"
            raise FormatError(self.path, found, WHOLE_FILE)
        if stop == self.shape[0]:
            self.stream.finish()
        return self.scale.apply(slab) if self.scale else slab


@dataclass(frozen=True)
class Layout:
    """Where a file's voxels are, as its header says."""

    file: VoxelFile
    shape: Triple
    stored: np.dtype[Any]
    offset: int
    """Where the voxels, or the compressed stream that holds them, begin."""
    skip: int = 0
    """Bytes to leave out after that, once decoded."""
    scale: Scale | None = None
    decoder: Callable[[BinaryIO], Any] | None = None
    """Decodes deflate from where a file stands; None: the voxels are plain."""
    ends_file: bool = True
    """Whether nothing follows the voxels but what fills the last block of a file."""

    def open(self, stack: ExitStack) -> FlatSource:
        """The voxels. Raises FormatError where the file is certainly too short for them, or holds more slices."""
        present, begin = self.file.size - self.offset, self.offset
        stream: ByteStream
        if self.decoder or not self.file.random_access:
            most = min(self._slice_bytes, _TRAILING_BYTES)
            stream = DecodedBytes(self.file, self.offset, self.decoder, most)
            stack.callback(stream.close)
            begin, present = 0, present * (_GREATEST_RATIO if self.decoder else 1)
        else:
            stream = PlainBytes(stack.enter_context(self.file.open()))
        self._require_stated_slices(present)
        return FlatSource(self.file.path, stream, begin + self.skip, self.shape, self.stored, self.scale)

    @property
    def _slice_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * self.stored.itemsize

    def _require_stated_slices(self, present: int) -> None:
        needed = self.shape[0] * self._slice_bytes + self.skip
        held = max(0, present - max(0, self.skip)) // self._slice_bytes
        states = f"states {self.shape[0]} slices, holds {'at most ' if self.decoder else ''}{held}"
        if self.skip < 0 or present < needed:
            found = f"the header announces {needed} bytes of voxels, at most {max(present, 0)} can be there"
            raise FormatError(self.file.path, f"truncated: {found}: {states}", WHOLE_FILE)
        if self.decoder is None and self.ends_file and present - needed >= min(self._slice_bytes, _TRAILING_BYTES):
            raise FormatError(self.file.path, f"{states}: {present - needed} bytes follow the last one", WHOLE_FILE)


def open_zlib(file: BinaryIO) -> BufferedReader:
    """The decoded bytes of the zlib stream that begins at the file's position."""
    return BufferedReader(_ZlibReader(file), _PIECE)


class _ZlibReader(RawIOBase):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = isal_zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._decoder.eof:
            packed = self._decoder.unconsumed_tail or self._file.read(1 << 16)
            decoded = self._decoder.decompress(packed, len(buffer))
            if decoded:
                buffer[: len(decoded)] = decoded
                return len(decoded)
            if not packed and not self._decoder.eof:
                raise EOFError("the compressed voxels end before the end of their stream")
        return 0
