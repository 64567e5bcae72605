"""Body: bytes from the network to a file, hashed on the way, at constant memory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from serving.intake.limits import Limits
from serving.intake.pools import ThreadPool
from serving.parsing.malformed import TooLarge, shown
from serving.parsing.texts import from_base64

_BUFFER_BYTES = 4 << 20
MOST_BODY_BYTES = 1 << 30
"""Of a body that is used from memory."""


class UploadStalled(ValueError):
    """The sender fell silent in the middle of the body."""


class DigestMismatch(ValueError):
    """What arrived is not what the sender says it sent."""


class DigestUnreadable(ValueError):
    """A checksum header that is not written as it must be."""


@dataclass
class Received:
    """A file that grows while bytes arrive; hashing and writing go on in a thread meanwhile."""

    file: BinaryIO
    name: str
    limits: Limits
    writing: ThreadPool
    """The threads that write."""
    size: int = 0
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)  # noqa: UP037 - a type of typeshed alone
    _buffer: bytearray = field(default_factory=bytearray)
    _writing: asyncio.Task[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Takes the next bytes. Raises UploadTooLarge, and OSError where they cannot be written."""
        self.size += len(piece)
        self.limits.check_size(self.size, name=self.name)
        self._buffer += piece
        if len(self._buffer) >= _BUFFER_BYTES:
            await self._flush()

    async def finish(self) -> str:
        """Writes what is left; gives the SHA-256 as hexadecimal digits."""
        await self._flush()
        await self.settle()
        return self._digest.hexdigest()

    async def settle(self) -> None:
        """Returns when nothing is being written any more, however often it is cancelled meanwhile."""
        writing, self._writing = self._writing, None
        cancelled = False
        while writing is not None and not writing.done():
            try:
                await asyncio.wait({writing})
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            if writing is not None and not writing.cancelled():
                writing.exception()  # nobody asks for it any more
            raise asyncio.CancelledError
        if writing is not None:
            writing.result()

    async def _flush(self) -> None:
        await self.settle()
        full, self._buffer = self._buffer, bytearray()
        self._writing = asyncio.create_task(self.writing.run(lambda: self._write(full)))

    def _write(self, piece: bytearray) -> None:
        self._digest.update(piece)
        self.limits.write(self.file, piece)


async def receive(stream: AsyncIterator[bytes], path: Path, *, limits: Limits, writing: ThreadPool) -> tuple[str, int]:
    """Writes a body to a file; gives its SHA-256 and its size in bytes. Raises as `Received` does.

    Whatever ends it, nothing is written to the file any more when it has ended.
    """
    with path.open("wb") as file:
        received = Received(file, path.name, limits, writing)
        try:
            async for piece in stream:
                await received.add(piece)
            return await received.finish(), received.size
        finally:
            with contextlib.suppress(OSError):  # that of what ended it is told
                await received.settle()


async def not_silent(stream: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The same stream; raises UploadStalled where nothing comes for so long."""
    pieces = aiter(stream)
    while True:
        try:
            async with asyncio.timeout(seconds):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise UploadStalled(f"nothing was received for {seconds:g} seconds") from None
        if piece is None:
            return
        yield piece


def stated_sha256(*headers: str) -> str | None:
    """The SHA-256 in a Content-Digest or Repr-Digest header (RFC 9530), as hexadecimal digits; None if there is none.

    Other algorithms are passed over, as the RFC wants it. Raises DigestUnreadable.
    """
    for header in headers:
        for part in header.split(","):
            algorithm, _, value = part.strip().partition("=")
            if algorithm.lower() == "sha-256":
                return _unpacked(value)
    return None


def _unpacked(value: str) -> str:
    digest = from_base64(value.strip(":"), name="the digest sha-256", refused=DigestUnreadable)
    if len(digest) != hashlib.sha256().digest_size or not value.startswith(":"):
        raise DigestUnreadable(f"the digest is sha-256={shown(value)}; expected sha-256=:BASE64: of 32 bytes")
    return digest.hex()


def check_digest(found: str, stated: str | None, *, name: str) -> None:
    """Raises DigestMismatch unless what was found is what the sender stated, if he did."""
    if stated is not None and found != stated.lower():
        raise DigestMismatch(f"{name} arrived with SHA-256 {found}; the sender says {stated.lower()}: send it again")


async def as_stated(stream: AsyncIterator[bytes], sha256: str | None, *, name: str) -> AsyncIterator[bytes]:
    """The same stream; raises DigestMismatch at its end unless it is what the sender stated, if he did."""
    digest = hashlib.sha256()
    async for piece in stream:
        if sha256 is not None:
            digest.update(piece)
        yield piece
    if sha256 is not None:
        check_digest(digest.hexdigest(), sha256, name=name)


async def whole(body: AsyncIterator[bytes], *, silence_seconds: float, most_bytes: int = MOST_BODY_BYTES) -> bytes:
    """A body that is used from memory. Raises TooLarge, UploadStalled."""
    pieces, size = [], 0
    now = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(silence_seconds) as patience:
            async for piece in body:
                size += len(piece)
                if size > most_bytes:
                    raise TooLarge(f"the body has more than {most_bytes} bytes; so many are taken by this call")
                pieces.append(piece)
                patience.reschedule(now() + silence_seconds)
    except TimeoutError:
        raise UploadStalled(f"nothing was received for {silence_seconds:g} seconds") from None
    return b"".join(pieces)
