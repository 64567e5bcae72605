"""The codecs of Zarr chunks: those that are read, and none of them unpacks more than its chunk holds.

A chunk of a few kilobytes may claim gigabytes, and a filter may be one that runs code: what a file names is looked up
in the table here, not in zarr's registry.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs.blosc
import zarr
from isal import isal_zlib
from numcodecs.abc import Codec
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.metadata import ArrayV2Metadata

from scans.formats.chunk_grids import require_sensible_chunks
from scans.formats.errors import FormatError

_MOST_IN_SHARD = 1 << 20
"""Chunks of one shard: the index holds 16 bytes for each."""
_BESIDE_VOXELS = 64
"""Bytes of checksums that a codec may have packed with the voxels."""
_PIECE_BYTES = 1 << 16
_PACKED_BESIDE = 4096
"""Bytes of headers that a packed chunk may have."""
_MOST_MEMBERS = 1000
"""Of a packed chunk, each of which is a stream by itself."""

ACCEPTED_CODECS = "chunks packed with blosc, zstd, gzip, zlib or lz4, or not packed, and without filters"


def unpack_gzip(packed: bytes | memoryview, most: int, *, wbits: int = 31) -> bytearray:
    """Decoded bytes of all members of a gzip (or, `wbits` 15, zlib) stream, in time in proportion to its length.

    Raises ValueError for more than `most` bytes, as soon as they are reached, for a stream that is cut, and for one of
    more members than any program writes.
    """
    found, members, at = bytearray(), 0, 0
    while at < len(packed):
        members += 1
        if members > _MOST_MEMBERS:
            raise ValueError(f"a chunk of more than {_MOST_MEMBERS} packed streams")
        at = _unpack_member(memoryview(packed), at, found, most=most, wbits=wbits)
    return found


def _unpack_member(packed: memoryview, start: int, found: bytearray, *, most: int, wbits: int) -> int:
    """Adds the decoded bytes of the member that begins at `start`; gives where it ends.

    It is fed by pieces, as what follows a member's end in its last piece is copied.
    """
    decoder, at = isal_zlib.decompressobj(wbits=wbits), start
    while not decoder.eof:
        piece = packed[at : at + _PIECE_BYTES]
        if not piece:
            raise ValueError("a chunk that ends before the end of its stream")
        found += decoder.decompress(piece, most + 1 - len(found))
        if len(found) > most:
            raise ValueError(f"a chunk that unpacks to more than its {most} bytes")
        at += len(piece)
    end = at - len(decoder.unused_data)
    if end == start:
        raise ValueError("more bytes follow after a chunk")
    return end


def _require_packed(packed: memoryview, most: int) -> None:
    """A packed chunk may take a little more than what it unpacks to; one that takes much more is something else."""
    if len(packed) > most + most // 8 + _PACKED_BESIDE:
        raise ValueError(f"a chunk of {most} bytes that is stored in {len(packed)}")


def _unpack_zlib(packed: memoryview, most: int) -> bytearray:
    return unpack_gzip(packed, most, wbits=15)


def _unpack_zstd(packed: memoryview, most: int) -> bytes:
    return bytes(imagecodecs.zstd_decode(bytes(packed), out=most))


def _unpack_blosc(packed: memoryview, most: int) -> bytes:
    _require_stated(int.from_bytes(packed[4:8], "little"), most)
    if len(packed) < 16 or int.from_bytes(packed[12:16], "little") != len(packed):
        raise ValueError("a blosc chunk of another length than it states")
    return bytes(numcodecs.blosc.decompress(bytes(packed)))


def _unpack_lz4(packed: memoryview, most: int) -> bytes:
    stated = int.from_bytes(packed[:4], "little")
    _require_stated(stated, most)
    return bytes(imagecodecs.lz4_decode(bytes(packed[4:]), out=stated))


def _require_stated(stated: int, most: int) -> None:
    if stated > most:
        raise ValueError(f"a chunk that states {stated} bytes, and holds {most}")


Unpack = Callable[[memoryview, int], bytes | bytearray]

_UNPACKERS: dict[str, Unpack] = {
    "gzip": unpack_gzip,
    "zlib": _unpack_zlib,
    "zstd": _unpack_zstd,
    "blosc": _unpack_blosc,
    "lz4": _unpack_lz4,
}


class _BoundedCompressor(Codec):  # type: ignore[misc]
    """Of Zarr v2: one chunk is unpacked to at most so many bytes."""

    codec_id = "bounded"

    def __init__(self, name: str, most: int) -> None:
        self._unpack = _UNPACKERS[name]
        self._most = most

    def encode(self, buf: Any) -> Any:
        raise NotImplementedError("chunks are read here, not written")

    def decode(self, buf: Any, out: Any = None) -> bytes | bytearray:
        packed = memoryview(buf).cast("B")
        _require_packed(packed, self._most)
        return self._unpack(packed, self._most)


def _unpacked(unpack: Unpack, packed: Buffer, spec: ArraySpec) -> Buffer:
    most = math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize + _BESIDE_VOXELS
    content = memoryview(packed.to_bytes())
    _require_packed(content, most)
    return spec.prototype.buffer.from_bytes(unpack(content, most))


class _Bounded:
    """Of Zarr v3: unpacks no more than the chunk's shape and type come to."""

    _unpack: Unpack

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return _unpacked(type(self)._unpack, chunk_bytes, chunk_spec)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return await asyncio.to_thread(self._decode_sync, chunk_bytes, chunk_spec)


@dataclass(frozen=True, init=False)
class _BoundedGzip(_Bounded, GzipCodec):
    _unpack = staticmethod(unpack_gzip)


@dataclass(frozen=True, init=False)
class _BoundedZstd(_Bounded, ZstdCodec):
    _unpack = staticmethod(_unpack_zstd)


@dataclass(frozen=True, init=False)
class _BoundedBlosc(_Bounded, BloscCodec):
    _unpack = staticmethod(_unpack_blosc)


def bounded(path: Path, array: zarr.Array[Any]) -> zarr.Array[Any]:
    """The same array, read with the codecs of this table.

    Raises FormatError for a codec or filter that is not in it, by name, and for chunks that are larger than a chunk may
    be, or far larger than their array.
    """
    _require_readable_chunks(path, array)
    metadata = array.metadata
    if isinstance(metadata, ArrayV2Metadata):
        size = math.prod(array.chunks) * array.dtype.itemsize
        checked: Any = replace(metadata, compressor=_compressor(path, metadata, size))
    else:
        checked = replace(metadata, codecs=tuple(_codec(path, codec) for codec in metadata.codecs))
    return zarr.Array(zarr.AsyncArray(metadata=checked, store_path=array.store_path))


def _require_readable_chunks(path: Path, array: zarr.Array[Any]) -> None:
    require_sensible_chunks(path, array.shape, array.chunks, array.dtype.itemsize, shards=array.shards)
    inner = math.prod(array.chunks)
    if array.shards is not None and math.prod(array.shards) > _MOST_IN_SHARD * inner:
        found = f"shards of {math.prod(array.shards) // max(inner, 1)} chunks"
        raise FormatError(path, found, f"shards of at most {_MOST_IN_SHARD} chunks")


def _compressor(path: Path, metadata: ArrayV2Metadata, size: int) -> Codec | None:
    for filter_ in metadata.filters or ():
        raise FormatError(path, f"Zarr chunks with the filter {_name(filter_)!r}", ACCEPTED_CODECS)
    if metadata.compressor is None:
        return None
    name = _name(metadata.compressor)
    if name not in _UNPACKERS:
        raise FormatError(path, f"Zarr chunks packed with {name!r}", ACCEPTED_CODECS)
    return _BoundedCompressor(name, size)


def _name(codec: Any) -> str:
    return str(getattr(codec, "codec_id", type(codec).__name__))[:80]


def _codec(path: Path, codec: Any) -> Any:
    kind = type(codec)
    if kind in (BytesCodec, Crc32cCodec, TransposeCodec):
        return codec
    if kind is GzipCodec:
        return _BoundedGzip(level=codec.level)
    if kind is ZstdCodec:
        return _BoundedZstd(level=codec.level, checksum=codec.checksum)
    if kind is BloscCodec:
        return _BoundedBlosc(
            typesize=codec.typesize,
            cname=codec.cname,
            clevel=codec.clevel,
            shuffle=codec.shuffle,
            blocksize=codec.blocksize,
        )
    if kind is ShardingCodec and not any(isinstance(inner, ShardingCodec) for inner in codec.codecs):
        if any(type(inner) not in (BytesCodec, Crc32cCodec) for inner in codec.index_codecs):
            raise FormatError(path, "a Zarr shard whose index is packed", ACCEPTED_CODECS)
        inside = tuple(_codec(path, inner) for inner in codec.codecs)
        return replace(codec, codecs=inside)
    name = codec.to_dict().get("name", kind.__name__)
    raise FormatError(path, f"Zarr chunks with the codec {str(name)[:80]!r}", ACCEPTED_CODECS)
