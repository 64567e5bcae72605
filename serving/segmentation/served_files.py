"""Served files: files of a scan's pyramids, whole or in part, as they were written.

A part of a file has no checksum. So a file is read whole and compared with the one that was noted when it was written,
once in a process, and remembered by its stamp (size, number and time of change, or ETag); from then on, parts that come
with that stamp are of the file that was compared. A file that changes has another, and is compared anew.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scans.checksums import checksum_of
from serving.storage import DataDamaged, Store
from serving.storage.contract import Stamp

PIECE_BYTES = 4 << 20
"""Longer parts are read and sent in pieces of so many bytes."""
_COMPARED_AT_ONCE = 2
_MOST_REMEMBERED = 65_536
"""Files: some twenty megabytes."""


class NoFile(LookupError):
    """A file that a scan's pyramid does not hold."""


class NotCompared(LookupError):
    """A file that has to be read whole before anything of it is handed out."""


class FileDamaged(DataDamaged):
    """A file is not as it was written, or is gone."""

    def __init__(self, file: str) -> None:
        super().__init__(f"{file} is damaged")
        self.file = file
        """Relative to the scan."""


@dataclass(frozen=True)
class KeptPyramid:
    """A pyramid of a scan, and what is known of its files."""

    place: str
    """Its folder, relative to the scan."""
    checksums: Mapping[str, str]
    """Of the files that are written, by name relative to it."""


@dataclass(frozen=True)
class ServedFile:
    """A file that was compared, and can be handed out."""

    scan_id: str
    name: str
    """Relative to the scan."""
    checksum: str
    """As it was noted when the file was written; empty where an earlier version noted none."""
    stamp: Stamp

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp.size


class ServedFiles:
    """Reads files of scans. Safe to use from several threads."""

    def __init__(self, store: Store, *, most_remembered: int = _MOST_REMEMBERED) -> None:
        self._store = store
        self._most_remembered = most_remembered
        self._compared: OrderedDict[ServedFile, None] = OrderedDict()
        self._lock = threading.Lock()
        self._comparing = threading.BoundedSemaphore(_COMPARED_AT_ONCE)

    def find(
        self, scan_id: str, folder: str, name: str, checksums: Mapping[str, str], *, compare: bool = True
    ) -> ServedFile | None:
        """The file `name` of the pyramid in `folder` of a scan; None where nobody wrote it.

        Only what was noted is looked for, by name relative to the pyramid, whatever else there may be. Raises
        FileDamaged where it was written, and is gone or another, and NotCompared where it is not known yet and longer
        than a piece, unless it is to `compare` it then, which takes as long as reading it.
        """
        noted = checksums.get(name)
        return None if noted is None else self._whole(scan_id, f"{folder}/{name}", noted, compare=compare)

    def pieces(self, file: ServedFile, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of it. Raises FileDamaged."""
        for first in range(start, stop, PIECE_BYTES):
            yield self._part(file, first, min(stop, first + PIECE_BYTES))

    def _part(self, file: ServedFile, start: int, stop: int) -> bytes:
        for known in (file, None):  # it may have been written anew meanwhile
            same = known or self._whole(file.scan_id, file.name, file.checksum)
            found = self._store.read_part(file.scan_id, file.name, start, stop)
            if found is not None and found[1] == same.stamp and len(found[0]) == stop - start:
                return found[0]
        raise FileDamaged(file.name)

    def _whole(self, scan_id: str, name: str, noted: str, *, compare: bool = True) -> ServedFile:
        stamp = self._store.stamp(scan_id, name)
        if stamp is None or not stamp.size:
            raise FileDamaged(name)
        file = ServedFile(scan_id, name, noted, stamp)
        if not self._is_known(file):
            if not compare and file.size > PIECE_BYTES:
                raise NotCompared(name)
            with self._comparing:  # who asks for the same file at the same time waits, and finds it known
                if not self._is_known(file):
                    if checksum_of(self._read(file)) != noted and noted:
                        raise FileDamaged(name)
                    self._remember(file)
        return file

    def _read(self, file: ServedFile) -> Iterator[bytes]:
        for first in range(0, file.size, PIECE_BYTES):
            found = self._store.read_part(file.scan_id, file.name, first, min(file.size, first + PIECE_BYTES))
            if found is None or found[1] != file.stamp:
                raise FileDamaged(file.name)
            yield found[0]

    def _is_known(self, file: ServedFile) -> bool:
        with self._lock:
            if file not in self._compared:
                return False
            self._compared.move_to_end(file)
            return True

    def _remember(self, file: ServedFile) -> None:
        with self._lock:
            self._compared[file] = None
            while len(self._compared) > self._most_remembered:
                self._compared.popitem(last=False)
