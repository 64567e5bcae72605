"""Store: the folder that the server owns. A scan exists exactly while its folder `scans/ID` does.

Whatever is on its way in or out lies in `incoming`, `outgoing` and `deleted`, which are emptied at every start; scans
enter and leave `scans` by one rename, so that a crash never leaves half of one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.scan import Scan

_ID = re.compile(r"^[0-9a-f]{32}$")
_PASSING = ("incoming", "outgoing", "deleted")


class StoreError(OSError):
    """A store that cannot be used; the message names it."""


class ScanNotFound(LookupError):  # noqa: N818 - says what is wrong, as FileNotFoundError does
    """No scan has that id."""

    def __init__(self, scan_id: str) -> None:
        super().__init__(f"no scan {scan_id!r}; it may have been deleted")


class Store:
    """The folder of one server."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.models_dir = root / "models"
        self._scans_dir = root / "scans"

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Makes the folder ready and its own for as long as the context lasts.

        Raises StoreError if another server uses it or if it cannot be written.
        """
        try:
            self._scans_dir.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".lock").open("a")
        except OSError as error:
            raise StoreError(f"the store {self.root} cannot be written: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"the store {self.root} is in use by another server; give each its own") from None
            for name in _PASSING:
                shutil.rmtree(self.root / name, ignore_errors=True)
                (self.root / name).mkdir(exist_ok=True)
            yield self

    @contextmanager
    def passing(self, name: str) -> Iterator[Path]:
        """A new folder in `incoming` or `outgoing`, gone at the end whatever happens."""
        folder = Path(tempfile.mkdtemp(dir=self.root / name))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def accept(self, incoming: Path, scan: Scan) -> bool:
        """Makes a complete folder a scan, durably. False if a scan of that id is already there."""
        scan.write(incoming)
        for file in incoming.rglob("*"):
            sync(file)
        sync(incoming)
        try:
            incoming.rename(self.folder_of(scan.id))
        except OSError:
            if self.folder_of(scan.id).is_dir():
                return False
            raise
        sync(self._scans_dir)
        return True

    def remove(self, scan_id: str) -> None:
        """Removes a scan and everything of it."""
        deleted = self.root / "deleted" / uuid.uuid4().hex
        try:
            self.folder_of(scan_id).rename(deleted)
        except FileNotFoundError:
            raise ScanNotFound(scan_id) from None
        shutil.rmtree(deleted, ignore_errors=True)

    def scan(self, scan_id: str) -> Scan:
        """The scan of that id. Raises ScanNotFound."""
        if not _ID.match(scan_id):
            raise ScanNotFound(scan_id)
        try:
            return Scan.read(self.folder_of(scan_id))
        except FileNotFoundError:
            raise ScanNotFound(scan_id) from None

    def scans(self) -> list[Scan]:
        """All scans, the newest first."""
        found = []
        for folder in self._scans_dir.iterdir():
            try:
                found.append(Scan.read(folder))
            except FileNotFoundError:  # removed while we looked
                continue
        return sorted(found, key=lambda scan: scan.created_seconds, reverse=True)

    def folder_of(self, scan_id: str) -> Path:
        """Where everything of a scan lies."""
        return self._scans_dir / scan_id


def sync(path: Path) -> None:
    """Returns when what was written to a file, or the names in a folder, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
