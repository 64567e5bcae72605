"""State of uploads: as which upload a file goes to a server, so that a new process goes on with what one began.

One small file each, in the user's state folder; nothing is written beside the scans. It holds no key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from ricefish.client.connection import RicefishError
from ricefish.client.file_lock import locked

_FORGOTTEN_DAYS = 30.0
"""Longer than any server keeps an upload that nobody goes on with."""


class UploadUnderWay(RicefishError):
    """Another process sends the same file to the same server."""


@dataclass(frozen=True)
class UploadIdentity:
    """What makes it the same file, going to the same server."""

    server: str
    path: str
    """With every link followed."""
    bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path, *, server: str) -> UploadIdentity:
        """Of a file as it is now. Raises FileNotFoundError."""
        there = path.resolve(strict=True)
        found = there.stat()
        return cls(server, str(there), found.st_size, found.st_mtime_ns)


class UploadState:
    """The upload of one file, in a file of its own; or in memory, where there is none."""

    def __init__(self, identity: UploadIdentity, file: BinaryIO | None) -> None:
        self._identity = identity
        self._file = file
        self._upload_id = self._read(file) if file else None

    @property
    def upload_id(self) -> str | None:
        """None if no upload is under way."""
        return self._upload_id

    @upload_id.setter
    def upload_id(self, upload_id: str | None) -> None:
        self._upload_id = upload_id
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._write(self._file)

    def _read(self, file: BinaryIO) -> str | None:
        try:
            content = json.loads(file.read())
            upload_id = content.pop("upload")
        except (ValueError, KeyError, AttributeError):  # new, or torn by a crash of the machine
            return None
        return upload_id if content == asdict(self._identity) and str(upload_id).isalnum() else None

    def _write(self, file: BinaryIO) -> None:
        content = {**asdict(self._identity), "upload": self._upload_id}
        text = b"" if self._upload_id is None else json.dumps(content, indent=2).encode()
        file.seek(0)
        file.write(text)
        file.flush()
        file.truncate(len(text))  # at the end: on a full disk, what was remembered stays
        os.fsync(file.fileno())


@contextmanager
def upload_state(identity: UploadIdentity) -> Iterator[UploadState]:
    """What is remembered of a file; no other process gets at it meanwhile, and its file goes when nothing is left.

    Raises UploadUnderWay. Where no state can be written, it lasts as long as the process.
    """
    said = "\0".join(map(str, asdict(identity).values()))
    name = hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()  # a disk may hold names in Latin-1
    path = state_folder() / f"{name[:32]}.json"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _tidy(path.parent)
        file: BinaryIO | None = locked(path)
    except BlockingIOError:
        raise UploadUnderWay(f"{identity.path} is being sent to {identity.server} by another process already") from None
    except OSError:
        file = None
    if file is None:
        yield UploadState(identity, None)
        return
    with file:
        entry = UploadState(identity, file)
        try:
            yield entry
        finally:
            if entry.upload_id is None:
                _remove(path)


def state_folder() -> Path:
    """Where uploads are remembered, by the custom of the platform; XDG_STATE_HOME moves it."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path.home() / ".local" / "state"
    given = os.environ.get("XDG_STATE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else base) / "ricefish" / "uploads"


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # Windows removes no open file: it stays, empty
        path.unlink()


def _tidy(folder: Path) -> None:
    oldest = time.time() - _FORGOTTEN_DAYS * 86400
    for path in folder.glob("*.json"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                _remove(path)
