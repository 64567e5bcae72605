"""State of a batch: one at a time fills a folder of results, and a new one goes on with one that was ended.

What of its scans is done the results say, and what was sent the server does. Only a batch that is to make anew what is
there (--force, --fresh) has to be told from the one before it: by a file in the folder of results, which is gone again
once nothing of a batch is left to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ricefish.client.file_lock import locked
from ricefish.client.upload_body import zipped_files

STATE_FILE = ".ricefish-batch.json"
_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.(part|unpacked|before)")
"""What a download is called until it is whole, and what it replaces until that is gone."""


class BatchUnderWay(OSError):
    """Another process fills the same folder."""


@dataclass(frozen=True)
class BatchState:
    """What a batch and the one that goes on with it have in common."""

    token: str
    """No other batch has it."""
    since_ns: Mapping[str, int] = field(default_factory=dict)
    """When the batch that this one goes on with was begun, by the clock of the disk, for each scan that is as it was
    then."""

    def wrote(self, scan: Path, result: Path) -> bool:
        """Whether the result of a scan was written by the batch that this one goes on with."""
        since = self.since_ns.get(_key(scan))
        return since is not None and result.stat().st_mtime_ns >= since


class ResultsFolder:
    """A folder of results that no other batch fills, and the state that is kept in it."""

    def __init__(self, path: Path, file: BinaryIO | None) -> None:
        """Without a file no state is kept, and a batch that is interrupted is begun anew."""
        self._path, self._file = path, file

    def begun(self, said: str, scans: Iterable[Path]) -> BatchState:
        """The state of a batch that makes anew what is there, and is asked for in these words, the model among them.

        Call it when the server is there: what is kept of a batch that was asked for otherwise is forgotten.
        """
        if self._file is None:
            return BatchState(uuid.uuid4().hex)
        token, before = _read(self._file, said)
        os.utime(self._path)
        now = os.fstat(self._file.fileno()).st_mtime_ns
        looks = {_key(scan): _looks(scan) for scan in scans}
        same = [key for key, look in looks.items() if look and key in before and before[key][0] == look]
        since = {key: before[key][1] for key in same}
        kept = {key: (look, since.get(key, now)) for key, look in looks.items()}
        _write(self._file, json.dumps({"said": said, "token": token, "scans": kept}).encode())
        return BatchState(token, since)

    def forget(self) -> None:
        """Call it when nothing of a batch is left to do, or when another is begun that makes nothing anew."""
        if self._file is not None:
            _write(self._file, b"")


@contextmanager
def results_folder(folder: Path) -> Iterator[ResultsFolder]:
    """Keeps other batches out of a folder of results; the state stays there until it is forgotten.

    Raises BatchUnderWay.
    """
    path = folder / STATE_FILE
    try:
        file: BinaryIO | None = locked(path)
    except BlockingIOError:
        raise BatchUnderWay(f"{folder}: another ricefish segment is at work on this folder; wait for it") from None
    except OSError:
        file = None
    if file is None:
        yield ResultsFolder(path, None)
        return
    with file:
        try:
            yield ResultsFolder(path, file)
        finally:
            if not os.fstat(file.fileno()).st_size:
                with contextlib.suppress(OSError):  # Windows removes no open file: it stays, empty
                    path.unlink()


def remove_partial(results: Iterable[Path]) -> None:
    """Removes what batches that were killed have left of these results; call it while no other batch is at work."""
    wanted: dict[Path, set[str]] = {}
    for path in results:
        wanted.setdefault(path.parent, set()).add(path.name)
    for folder, names in wanted.items():
        for left in folder.iterdir() if folder.is_dir() else ():
            partial = _PARTIAL.fullmatch(left.name)
            if partial is None or partial["name"] not in names:
                continue
            if partial[2] == "before" and not (folder / partial["name"]).exists():
                left.rename(folder / partial["name"])
            elif left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()


def _key(scan: Path) -> str:
    return str(scan.resolve())


def _looks(scan: Path) -> str:
    """Its bytes and its latest change, by which a scan that was replaced is known; nothing where it cannot be read."""
    try:
        found = [file.stat() for file in zipped_files(scan) or [scan]]
    except (OSError, ValueError):
        return ""
    return f"{sum(one.st_size for one in found)} bytes, {max(one.st_mtime_ns for one in found)} ns"


def _read(file: BinaryIO, said: str) -> tuple[str, dict[str, tuple[str, int]]]:
    """The token, and of each scan what it looked like, and since when results of it count.

    A new token and no scan where no batch was ended, or one that was asked for otherwise.
    """
    try:
        content = json.loads(file.read())
        if content["said"] == said:
            return str(content["token"]), {key: (str(look), int(at)) for key, (look, at) in content["scans"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):  # new, or torn by a crash of the machine
        pass
    return uuid.uuid4().hex, {}


def _write(file: BinaryIO, content: bytes) -> None:
    file.seek(0)
    file.write(content)
    file.flush()
    file.truncate(len(content))
    os.fsync(file.fileno())
