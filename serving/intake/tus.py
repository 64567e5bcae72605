"""Uploads that can be resumed, as the tus protocol 1.0.0 describes them; what is on disk is what has arrived.

Of the ready-made servers of the protocol for FastAPI none knows its checksum extension, which a scan should not go
without. An upload is a folder: `data`, whose size is the offset, and `upload.json`, which never changes but for the
length of an upload that began without one.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import FileIO
from pathlib import Path

from isal import isal_zlib

from serving.auth.identity import ANYONE, Identity
from serving.intake import arrived
from serving.intake.arrived import DATA_FILE, INFO_FILE, UploadDamaged
from serving.intake.limits import Limits
from serving.intake.pools import ThreadPool
from serving.intake.tus_headers import UploadRefused, parse_metadata, stated_checksum
from serving.intake.writers import OffsetConflict, Writers
from serving.observability import logs
from serving.observability.reasons import reason
from serving.storage import DataDamaged, replace_text, sync
from serving.storage.sealed import sealed, unsealed

_ID = re.compile(r"[0-9a-f]{32}")


class UploadNotFound(LookupError):
    """No upload has that id, or it has expired."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"no upload {upload_id!r}; it may have expired, been removed or become a scan")


class ChecksumMismatch(ValueError):
    """What arrived in a request is not what its checksum says; none of it was kept."""


class UploadIncomplete(ValueError):
    """An upload is asked for as a scan before all of it has arrived."""


@dataclass(frozen=True)
class UploadInfo:
    """What is fixed of an upload."""

    id: str
    length: int | None
    """Bytes in all; None while the sender has not said."""
    metadata: str
    """The Upload-Metadata header as it came."""
    created_seconds: float
    owner: str | None = None
    """Whose key it was begun with; None without keys."""

    @property
    def filename(self) -> str | None:
        """The file's name that the sender gave."""
        return parse_metadata(self.metadata).get("filename")


class Uploads:
    """The uploads of one server, in a folder."""

    def __init__(self, folder: Path, *, limits: Limits, expiry_seconds: float, writing: ThreadPool) -> None:
        """`writing` are the threads in which files are looked at and written to while bytes arrive."""
        self._folder = folder
        self._writing = writing
        self.limits = limits
        self._expiry_seconds = expiry_seconds
        self._writers = Writers()
        self._identity = ANYONE

    def seen_by(self, identity: Identity) -> Uploads:
        """The same folder, where uploads of other owners do not exist and new ones are this identity's."""
        theirs = copy.copy(self)
        theirs._identity = identity
        return theirs

    def create(self, *, length: int | None, metadata: str) -> UploadInfo:
        """A new upload without a byte. Raises UploadTooLarge, OSError where it would not fit, UploadRefused."""
        info = UploadInfo(uuid.uuid4().hex, length, metadata, time.time(), self._identity.owner)
        self.limits.check_size(length or 0, name=info.filename or "the upload")
        self.limits.check_room(length or 0)
        beside = self._folder / f".{info.id}"
        beside.mkdir()
        (beside / DATA_FILE).touch()
        self._write_info(beside, info)
        arrived.write_down(beside, size=0, checksum=0)
        beside.rename(self._folder / info.id)
        sync(self._folder)
        return info

    def get(self, upload_id: str) -> tuple[UploadInfo, int]:
        """An upload and its offset. Raises UploadNotFound."""
        info = self._info(upload_id)
        with _found(upload_id):
            status = self.data(upload_id).stat()
        if status.st_mtime + self._expiry_seconds < time.time():
            self.remove(upload_id)
            raise UploadNotFound(upload_id)
        return info, status.st_size

    def data(self, upload_id: str) -> Path:
        """The file that grows."""
        return self._folder / upload_id / DATA_FILE

    def present_bytes(self, upload_id: str) -> int:
        """How much has arrived; 0 where there is no such upload."""
        try:
            return self.get(upload_id)[1]
        except UploadNotFound:
            return 0

    def expires(self, upload_id: str) -> float:
        """When it is removed unless it goes on, seconds since 1970. Raises UploadNotFound."""
        with _found(upload_id):
            return self.data(upload_id).stat().st_mtime + self._expiry_seconds

    def set_length(self, upload_id: str, length: int) -> None:
        """Says how long an upload will be that began without.

        Raises UploadRefused if it is known already, UploadNotFound.
        """
        info, offset = self.get(upload_id)
        if info.length is not None and info.length != length:
            raise UploadRefused(f"the upload has a length of {info.length} bytes already")
        if length < offset:
            raise UploadRefused(f"Upload-Length is {length}; {offset} bytes have arrived already")
        self.limits.check_size(length, name=info.filename or "the upload")
        with _found(upload_id):
            self._write_info(self._folder / upload_id, replace(info, length=length))

    def remove(self, upload_id: str) -> None:
        """Removes an upload and what has arrived of it. Raises UploadNotFound."""
        gone = self._folder / f".{uuid.uuid4().hex}"
        with _found(upload_id):
            (self._folder / self._info(upload_id).id).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def complete(self, upload_id: str) -> tuple[UploadInfo, Path]:
        """An upload all of which has arrived, and its file. Raises UploadNotFound, UploadIncomplete, UploadDamaged."""
        info, offset = self.get(upload_id)
        if info.length is None or offset < info.length:
            missing = (
                "its length is not known yet" if info.length is None else f"{info.length - offset} bytes are missing"
            )
            raise UploadIncomplete(f"upload {upload_id} is not complete: {missing}")
        with self._undamaged(upload_id), _found(upload_id):
            arrived.check(self._folder / upload_id, self.data(upload_id))
        return info, self.data(upload_id)

    @contextmanager
    def _undamaged(self, upload_id: str) -> Iterator[None]:
        """Removes an upload that is found damaged within, so that whoever sends it begins it again."""
        try:
            yield
        except UploadDamaged:
            self.remove(upload_id)
            raise

    def expire(self, *, starting: bool = False) -> None:
        """Removes uploads that nobody has gone on with; `starting`, also what a killed process left half made."""
        for folder in self._folder.iterdir():
            if folder.name.startswith("."):
                if starting:
                    shutil.rmtree(folder, ignore_errors=True)
            elif _ID.fullmatch(folder.name):
                try:
                    self.get(folder.name)
                except UploadNotFound:
                    self._clear_unusable(folder)
                except Exception as error:  # the other uploads may expire all the same
                    logs.event("upload_not_looked_at", level=logging.ERROR, upload=folder.name, error=reason(error))

    def _clear_unusable(self, folder: Path) -> None:
        """Removes what nobody can go on with, as half of it is missing, once it is as old as an upload may be."""
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime + self._expiry_seconds < time.time():
                shutil.rmtree(folder, ignore_errors=True)

    async def append(
        self, upload_id: str, body: AsyncIterator[bytes], *, offset: int, checksum: str | None = None
    ) -> int:
        """Adds a body to an upload at `offset`; gives the new offset.

        `checksum` is the Upload-Checksum header; with one, a body that does not match is dropped, else all that arrived
        before an interruption is kept. A newer call for the same upload ends an older one, which waits for bytes on a
        connection that is dead. Raises OffsetConflict, ChecksumMismatch, UploadTooLarge, UploadRefused, UploadNotFound,
        UploadDamaged.
        """
        await self._writing.run(partial(self._info, upload_id))
        async with self._writers.alone(upload_id):
            info, present = await self._writing.run(partial(self.get, upload_id))
            if present != offset:
                raise OffsetConflict(f"Upload-Offset is {offset}; {present} bytes have arrived")
            return await self._write(info, body, offset=offset, expected=stated_checksum(checksum))

    async def _write(
        self, info: UploadInfo, body: AsyncIterator[bytes], *, offset: int, expected: tuple[str, bytes] | None
    ) -> int:
        digest = hashlib.new(expected[0], usedforsecurity=False) if expected else None
        end, checksum = offset, await self._writing.run(partial(self._arrived, info.id, offset))
        with self._opened(info.id) as file:
            try:
                async for piece in body:
                    end += len(piece)
                    self._check_end(info, end)
                    if digest:
                        digest.update(piece)
                    checksum = await self._writing.run(partial(_write_through, file, piece, checksum, self.limits))
                if digest and expected and digest.digest() != expected[1]:
                    size = end - offset
                    raise ChecksumMismatch(f"the {expected[0]} of the {size} bytes is not the one that was stated")
            except BaseException:
                if digest:
                    await self._writing.run(partial(os.truncate, file.fileno(), offset))
                raise
            finally:
                await self._writing.run(partial(os.fsync, file.fileno()))
            await self._writing.run(partial(self._write_down, info.id, end, checksum))
        return end

    def _write_down(self, upload_id: str, size: int, checksum: int) -> None:
        with _found(upload_id):
            arrived.write_down(self._folder / upload_id, size=size, checksum=checksum)

    def _opened(self, upload_id: str) -> FileIO:
        with _found(upload_id):
            return self.data(upload_id).open("ab", buffering=0)

    def _arrived(self, upload_id: str, size: int) -> int:
        with self._undamaged(upload_id), _found(upload_id):
            return arrived.arrived(self._folder / upload_id, self.data(upload_id), size=size)

    def _check_end(self, info: UploadInfo, end: int) -> None:
        if info.length is not None and end > info.length:
            raise UploadRefused(f"more bytes than the Upload-Length of {info.length}")
        self.limits.check_size(end, name=info.filename or "the upload")

    def _info(self, upload_id: str) -> UploadInfo:
        if not _ID.fullmatch(upload_id):
            raise UploadNotFound(upload_id)
        try:
            text = (self._folder / upload_id / INFO_FILE).read_text(encoding="utf-8")
            info = UploadInfo(**unsealed(text, of=f"upload {upload_id}"))
        except (FileNotFoundError, DataDamaged, ValueError, TypeError):  # not there, or nothing that was written here
            raise UploadNotFound(upload_id) from None
        if not self._identity.sees(info.owner):
            raise UploadNotFound(upload_id)
        return info

    def _write_info(self, folder: Path, info: UploadInfo) -> None:
        replace_text(folder / INFO_FILE, sealed(asdict(info)))


@contextmanager
def _found(upload_id: str) -> Iterator[None]:
    """Whatever is not there any more within is an upload that was removed meanwhile: UploadNotFound."""
    try:
        yield
    except FileNotFoundError:
        raise UploadNotFound(upload_id) from None


def _write_through(file: FileIO, piece: bytes, checksum: int, limits: Limits) -> int:
    """Writes a piece, where there is room for it; gives the checksum of all that has arrived with it."""
    limits.check_room(len(piece))
    left = memoryview(piece)
    while left:
        left = left[file.write(left) or 0 :]
    return isal_zlib.crc32(piece, checksum)
