"""Compression: bodies that come, or are wanted, as gzip or deflate."""

from __future__ import annotations

import gzip
import zlib
from typing import Literal

from serving.protocol.errors import InferenceRefused

Coding = Literal["gzip", "deflate"]

_EITHER_WRAPPER = 32 + zlib.MAX_WBITS
"""gzip and zlib, found by their first bytes."""
_FAST = 1


def unpacked(body: bytes, coding: str, *, most_bytes: int) -> bytes:
    """A body without its Content-Encoding. Raises InferenceRefused, also where it holds more than `most_bytes`."""
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "deflate"):
        raise InferenceRefused(f"Content-Encoding is {coding!r}; known are gzip and deflate")
    unpacking = zlib.decompressobj(_EITHER_WRAPPER)
    try:
        content = unpacking.decompress(body, most_bytes)
    except zlib.error as error:
        raise InferenceRefused(f"the body is no {coding}: {error}") from None
    if unpacking.unconsumed_tail:
        raise InferenceRefused(f"the body unpacks to more than {most_bytes} bytes")
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
