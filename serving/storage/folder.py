"""FolderStore: scans in a folder, on this machine's disk or on one that several machines mount.

A scan enters and leaves `scans` by one rename. A shard enters it through the folder of its attempt,
`scans/ID/attempts/EPOCH`, from where it is renamed into the result. A newer attempt first renames that folder away, so
that whatever the older one is still about to do fails for want of it. No clock and no lock is involved.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from serving.storage.contract import (
    RESULT_DIR,
    Attempt,
    Fenced,
    NoRemoteCopies,
    Stamp,
    StoreError,
    correction_dir,
)
from serving.storage.private_folder import make_private, open_lock, unusable
from serving.storage.rehearsal import REHEARSED, Stages
from serving.storage.scratch import PROBED, sync

_ATTEMPTS_DIR = "attempts"


class FolderStore(NoRemoteCopies):
    """See `Store`. Whoever mounts the folder has its model copies before it."""

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self._root = root
        self._scans = root / "scans"
        self._arriving = root / "arriving"
        self._deleted = root / "deleted"
        self._models = root / "models"

    @contextmanager
    def open(self, *, alone: bool) -> Iterator[None]:
        """Makes the folders; `alone` claims them. Raises StoreError."""
        with ExitStack() as stack:
            self._make_ready()
            if alone:
                self._claim(stack)
            yield

    @property
    def made(self) -> bool:
        """True where `open` would make no folder."""
        return all(folder.is_dir() for folder in (self._scans, self._arriving, self._deleted, self._models))

    @property
    def begun(self) -> bool:
        """True where some of its folders are there."""
        return any(folder.is_dir() for folder in (self._scans, self._arriving, self._deleted, self._models))

    def check(self) -> None:
        """Makes a file and removes it in a folder that is not there where a disk is not mounted."""
        self._scans.stat()  # whose error names the folder, and no file that was to be
        with tempfile.TemporaryFile(dir=self._scans) as file:
            file.write(PROBED)

    def rehearse(self) -> dict[str, float]:
        """Seconds of writing and fsync, of a rename and fsync of the folders, and of removing."""
        watch = Stages()
        name = uuid.uuid4().hex
        beside, there = self._arriving / name, self._deleted / name
        try:
            with watch.stage("write and fsync"):
                beside.write_bytes(REHEARSED)
                sync(beside)
            with watch.stage("rename"):
                beside.rename(there)
                sync(self._deleted)
            if there.read_bytes() != REHEARSED:
                raise StoreError(f"the store {self.name} gives back other bytes than were written")
        finally:
            with watch.stage("delete"):
                beside.unlink(missing_ok=True)
                there.unlink(missing_ok=True)
        return watch.seconds

    def _claim(self, stack: ExitStack) -> None:
        lock = stack.enter_context(open_lock(self._root / ".lock"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"the store {self.name} is in use by another server; give each its own, or PostgreSQL as "
                f"RICEFISH_DATABASE_URL to all"
            ) from None

    def _make_ready(self) -> None:
        try:
            make_private(
                self._root, (folder.name for folder in (self._scans, self._arriving, self._deleted, self._models))
            )
            with tempfile.TemporaryFile(dir=self._root):
                pass
        except OSError as error:
            raise unusable("the store", self.name, error) from error

    def accept(self, incoming: Path, scan_id: str) -> None:
        """Makes a complete folder a scan, durably: by one rename where `incoming` is on the same disk."""
        self._take_over(incoming, self._scans / scan_id, name=scan_id)

    def _take_over(self, incoming: Path, target: Path, *, name: str) -> None:
        for path in incoming.rglob("*"):
            sync(path)
        sync(incoming)
        try:
            incoming.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = self._arriving / name
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(incoming, beside)
            for path in (*beside.rglob("*"), beside):
                sync(path)
            beside.rename(target)
        sync(target.parent)

    def scan_ids(self) -> list[str]:
        """Ids of all scans of which there is anything."""
        return sorted(folder.name for folder in self._scans.iterdir())

    def remove(self, scan_id: str) -> None:
        """Removes all of a scan; nothing if there is nothing of it."""
        self._discard(self._arriving / scan_id)
        self._discard(self._scans / scan_id)

    def sweep(self) -> None:
        """Finishes removals that were cut off, whoever had begun them."""
        for folder in self._deleted.iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def read_file(self, scan_id: str, name: str, *, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes of a file where it lies."""
        with (self._scans / scan_id / name).open("rb") as file:
            first = start if start >= 0 else max(0, file.seek(0, os.SEEK_END) + start)
            file.seek(first)
            return file.read() if stop is None else file.read(stop - first)

    @contextmanager
    def begin(self, scan_id: str, epoch: int) -> Iterator[Attempt]:
        """Begins an attempt and fences all of a lower epoch off. Raises Fenced."""
        attempts = self._scans / scan_id / _ATTEMPTS_DIR
        mine = attempts / str(epoch)
        try:
            with contextlib.suppress(FileExistsError):
                attempts.mkdir()
            mine.mkdir()
            others = [int(folder.name) for folder in attempts.iterdir() if folder != mine]
        except FileNotFoundError:
            raise Fenced(f"scan {scan_id} is gone") from None
        if any(other > epoch for other in others):
            self._discard(mine)
            raise Fenced(f"a newer attempt at scan {scan_id} is under way")
        for other in others:
            self._discard(attempts / str(other))
        try:
            yield _FolderAttempt(mine, self._scans / scan_id / RESULT_DIR)
        finally:
            self._discard(mine)
            with contextlib.suppress(OSError):  # not empty: a newer attempt has begun
                attempts.rmdir()

    def read_result(self, scan_id: str, names: Collection[str], *, place: str = RESULT_DIR) -> dict[str, bytes]:
        """Files of the result, or of a correction, that are there, by name."""
        found = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found[name] = (self._scans / scan_id / place / name).read_bytes()
        return found

    def add_correction(self, incoming: Path, scan_id: str, correction_id: str) -> None:
        """By one rename, where the scan is still there."""
        place = self._scans / scan_id / correction_dir(correction_id)
        with contextlib.suppress(FileExistsError):
            os.mkdir(place.parent)  # noqa: PTH102 - without parents, so that no scan that was removed comes back
            sync(self._scans / scan_id)
        self._take_over(incoming, place, name=correction_id)

    def remove_correction(self, scan_id: str, correction_id: str) -> None:
        """Removes what there is of a correction."""
        self._discard(self._arriving / correction_id)
        self._discard(self._scans / scan_id / correction_dir(correction_id))

    def stamp(self, scan_id: str, name: str) -> Stamp | None:
        """Of a file of a scan; None where there is none."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return _stamp((self._scans / scan_id / name).stat())
        return None

    def read_part(self, scan_id: str, name: str, start: int, stop: int) -> tuple[bytes, Stamp] | None:
        """Bytes [start, stop) of a file of a scan, and of which file they are; None where there is none."""
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            (self._scans / scan_id / name).open("rb") as file,
        ):
            file.seek(start)
            return file.read(stop - start), _stamp(os.fstat(file.fileno()))
        return None

    @property
    def models_dir(self) -> Path:
        """The folder of model copies."""
        return self._models

    def _discard(self, folder: Path) -> None:
        gone = self._deleted / uuid.uuid4().hex
        with contextlib.suppress(FileNotFoundError):
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


@dataclass(frozen=True)
class _FolderAttempt:
    gate: Path
    """What every shard passes through; gone once a newer attempt has begun."""
    result: Path

    def publish(self, folder: Path, names: Iterable[str]) -> None:
        touched: set[Path] = set()
        try:
            for name in names:
                within = self.gate / uuid.uuid4().hex
                _move(folder / name, within)
                self._make_parents(PurePosixPath(name), touched)
                within.rename(self.result / name)
                touched.add((self.result / name).parent)
            for changed in touched:
                sync(changed)
        except FileNotFoundError:
            raise Fenced(f"the attempt in {self.gate} was fenced off") from None

    def _make_parents(self, name: PurePosixPath, touched: set[Path]) -> None:
        """One by one, from the result down, so that a scan that was removed is not brought back as empty folders."""
        for parent in reversed(name.parents):
            folder = self.result / parent
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)  # noqa: PTH102 - without parents, as pathlib's would be as well
                touched.add(folder.parent)


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_size, f"{found.st_ino}-{found.st_mtime_ns}-{found.st_ctime_ns}")


def _move(file: Path, target: Path) -> None:
    """By rename, or from another disk by a copy; durable on return. Raises FileNotFoundError without target folder."""
    sync(file)
    try:
        file.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(file, target)
        sync(target)
        file.unlink()
