"""Scratch: a folder on a local disk for what is on its way in or out, emptied by the next process that uses it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.storage.contract import StoreError
from serving.storage.private_folder import close_to_others, make_private, open_lock, unusable

_PASSING = ("incoming", "staging")
PROBED = bytes(4096)
"""Written and removed, since a full disk still has room for an empty file."""


class Scratch:
    """The local folder of one process; `uploads` in it outlive the process, everything else does not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uploads_dir = root / "uploads"

    @contextmanager
    def opened(self) -> Iterator[Scratch]:
        """Makes the folder ready and this process's own for as long as the context lasts.

        Raises StoreError if another process uses it or if it cannot be written.
        """
        try:
            make_private(self.root, ("uploads", *_PASSING))
            close_to_others(self.root)
            lock = open_lock(self.root / ".lock")
        except OSError as error:
            raise unusable("the folder", self.root, error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(
                    f"the folder {self.root} is in use by another process; give each its own with RICEFISH_SCRATCH"
                ) from None
            for name in _PASSING:
                shutil.rmtree(self.root / name, ignore_errors=True)
                (self.root / name).mkdir(mode=0o700, exist_ok=True)
            yield self

    def check(self) -> None:
        """Raises OSError if nothing can be written at this moment."""
        with tempfile.TemporaryFile(dir=self.root / _PASSING[0]) as file:
            file.write(PROBED)

    @contextmanager
    def passing(self, name: str) -> Iterator[Path]:
        """A new folder in `incoming` or `staging`, gone at the end whatever happens."""
        folder = Path(tempfile.mkdtemp(dir=self.root / name))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def replace_text(path: Path, text: str) -> None:
    """Writes a text file durably, as a whole or not at all, whoever else writes it at the same time.

    Raises FileNotFoundError where its folder is gone.
    """
    beside = path.with_name(f".{uuid.uuid4().hex}")
    try:
        beside.write_text(text, encoding="utf-8")
        sync(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Returns when what was written to a file, or the names in a folder, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
