"""State of a batch: one at a time fills a folder of results, and a new one goes on with one that was ended.

What of its scans is done the results say, and what was sent the server does. Only a batch that is to make anew what is
there (--force, --fresh) has to be told from the one before it: by a file in the folder of results, which is gone again
once a batch has come to its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ricefish.client.file_lock import locked

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
    since_ns: int | None = None
    """When the batch was begun that this one goes on with, by the clock of the disk; None: it goes on with none."""

    def wrote(self, path: Path) -> bool:
        """Whether a result was written by the batch that this one goes on with."""
        return self.since_ns is not None and path.stat().st_mtime_ns >= self.since_ns


@contextmanager
def batch_state(folder: Path, said: str) -> Iterator[BatchState]:
    """The state of a batch that is asked for in these words, forgotten at its end, but for one that is interrupted.

    Raises BatchUnderWay. Where no state can be kept, a batch that is interrupted is begun anew.
    """
    path = folder / STATE_FILE
    try:
        file: BinaryIO | None = locked(path)
    except BlockingIOError:
        raise BatchUnderWay(f"{folder}: another ricefish segment is at work on this folder; wait for it") from None
    except OSError:
        file = None
    if file is None:
        yield BatchState(uuid.uuid4().hex)
        return
    with file, contextlib.ExitStack() as ending:
        state = _read(file, said) or _begun(file, said)
        ending.callback(_forget, file, path)
        try:
            yield state
        except Exception:
            raise
        except BaseException:  # Ctrl-C: as if it had been killed
            ending.pop_all()
            raise


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


def _forget(file: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):  # Windows removes no open file: it is emptied
        file.truncate(0)
        path.unlink()


def _read(file: BinaryIO, said: str) -> BatchState | None:
    """None where no batch was ended, or one that was asked for otherwise."""
    try:
        content = json.loads(file.read())
        token, told = str(content["token"]), content["said"]
    except (ValueError, KeyError, TypeError):  # new, or torn by a crash of the machine
        return None
    return BatchState(token, os.fstat(file.fileno()).st_mtime_ns) if told == said else None


def _begun(file: BinaryIO, said: str) -> BatchState:
    state = BatchState(uuid.uuid4().hex)
    file.seek(0)
    file.truncate(0)
    file.write(json.dumps({"said": said, "token": state.token}).encode())
    file.flush()
    os.fsync(file.fileno())
    return state
