"""Reserve: room on the disk of an embedded database, given up when it is full, so that scans can be removed."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

_MOST_BYTES = 8 << 20
"""Enough for the journal of SQLite, which is begun anew after 4 MB, and for what it is written back to."""
_SHARE = 10
"""On a small disk, one part in so many of it."""
_PLENTY = 3
"""It is taken where so many times as much is free."""


class Reserve:
    """A file without content beside a database."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Takes the room, where it is not taken and there is plenty; nothing where that cannot be done."""
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(self._path, flags, 0o600)
            try:
                disk = shutil.disk_usage(self._path.parent)
                size = min(_MOST_BYTES, disk.total // _SHARE)
                if os.fstat(handle).st_size < size and disk.free > _PLENTY * size:
                    os.posix_fallocate(handle, 0, size)
            finally:
                os.close(handle)

    def release(self) -> bool:
        """Gives the room back; False where there was none."""
        try:
            held = self._path.stat().st_size > 0
            os.truncate(self._path, 0)
        except OSError:
            return False
        return held
