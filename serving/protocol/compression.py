"""Compression: bodies that come, or are wanted, as gzip or deflate."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Literal

from serving.protocol.errors import InferenceRefused

Coding = Literal["gzip", "deflate"]

_EITHER_WRAPPER = 32 + zlib.MAX_WBITS
"""gzip and zlib, found by their first bytes."""
_FAST = 1
_PIECE_BYTES = 1 << 20


def unpacked(body: bytes, coding: str, *, take: Callable[[int], None]) -> bytes | bytearray:
    """A body without its Content-Encoding; `take` is told of each piece before it is kept. Raises InferenceRefused, and
    what `take` raises.
    """
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "deflate"):
        raise InferenceRefused(f"Content-Encoding is {coding!r}; known are gzip and deflate")
    unpacking = zlib.decompressobj(_EITHER_WRAPPER)
    content = bytearray()
    try:
        for first in range(0, len(body), _PIECE_BYTES):
            rest, full = body[first : first + _PIECE_BYTES], True
            while (rest or full) and not unpacking.eof:
                piece = unpacking.decompress(rest, _PIECE_BYTES)
                take(len(piece))
                content += piece
                rest, full = unpacking.unconsumed_tail, len(piece) == _PIECE_BYTES
    except zlib.error as error:
        raise InferenceRefused(f"the body is no {coding}: {error}") from None
    if not unpacking.eof:
        raise InferenceRefused(f"the body ends in the middle of its {coding}")
    return content


def wanted(accept_encoding: str) -> Coding | None:
    """How an answer is packed: as the header says, where it names one coding alone.

    A list is what many libraries send by themselves; packing for them would cost more than it saves.
    """
    only = accept_encoding.partition(";")[0].strip().lower()
    if only == "gzip":
        return "gzip"
    return "deflate" if only == "deflate" else None


def packed(body: bytes, coding: Coding) -> bytes:
    """The body in that coding; deflate is in zlib's wrapper, as HTTP has it."""
    return gzip.compress(body, _FAST, mtime=0) if coding == "gzip" else zlib.compress(body, _FAST)
