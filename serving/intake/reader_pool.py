"""Reader pool: the processes that uploads are verified in, started when they are needed and used again.

A file that takes more memory than a reader may have, that gets stuck, or that makes its reader crash is a bad file; the
server goes on. What was verified is read in the server later, where each slab is compared with its checksum.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from scans.formats import FormatError
from serving.intake import reader_process
from serving.intake.correction_labels import VerifiedLabels, verify_labels
from serving.intake.limits import Limits
from serving.intake.verification import Verified, verify

_LONGEST_ANSWER = 64 << 20
_START_SECONDS = 120.0
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""What a reader is told of the server's environment: no keys, no addresses."""
_FEW_THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}
"""Stacks and arenas of threads would count as the file's memory."""


class ReaderFailed(RuntimeError):
    """A reader could not be started, or the server is stopping."""


class ReaderPool:
    """Verifies files in processes of their own. Safe to use from any thread; waits while all readers are at work."""

    def __init__(self, *, most: int, memory_bytes: int, stall_seconds: float) -> None:
        """At most so many processes, each with so many bytes beyond what it has when idle.

        One that does not get on for `stall_seconds` is ended. With none, files are read in this process, and no limit
        holds.
        """
        self._most = most
        self._memory_bytes = memory_bytes
        self._stall_seconds = stall_seconds
        self._places = _Places(max(most, 1))
        self._lock = threading.Lock()
        self._idle: list[_Reader] = []
        self._all: set[_Reader] = set()
        self._closed = False

    def verify(self, path: Path, *, limits: Limits, owner: str | None = None, **asked: Any) -> Verified:
        """What `verification.verify` gives for the same, and raises.

        Where there are several readers, one is kept for volumes that `limits` allow to be light only, and one for
        others than this `owner`; None: there are no keys.

        Raises FormatError, too, for a file that takes too much memory or time, or ends its reader, and ReaderFailed.
        """
        if not self._most:
            return verify(path, limits=limits, **asked)
        answer = self._answer("scan", path, limits=limits, owner=owner, **asked)
        return reader_process.outcome(answer, path, memory_bytes=self._memory_bytes, found=Verified)

    def verify_labels(self, path: Path, *, limits: Limits, owner: str | None = None, **asked: Any) -> VerifiedLabels:
        """The same of `correction_labels.verify_labels`."""
        if not self._most:
            return verify_labels(path, limits=limits, **asked)
        answer = self._answer("labels", path, limits=limits, owner=owner, **asked)
        return reader_process.outcome(answer, path, memory_bytes=self._memory_bytes, found=VerifiedLabels)

    def _answer(
        self, task: reader_process.Task, path: Path, *, limits: Limits, owner: str | None, **asked: Any
    ) -> bytes:
        with self._places.one(owner, heavy=limits.light_voxels is None), self._reader() as reader:
            return reader.ask({"task": task, "path": path, "limits": limits, **asked}, path)

    def close(self) -> None:
        """Ends every reader, whatever it is doing. Who waits for one lets go of it: a pipe is closed by its user."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            at_work = self._all.difference(idle)
        for reader in idle:
            self._drop(reader)
        for reader in at_work:
            reader.kill()

    @contextmanager
    def _reader(self) -> Iterator[_Reader]:
        reader = self._take()
        try:
            yield reader
        except BaseException:
            self._drop(reader)
            if self._closed:
                raise ReaderFailed("the server is stopping") from None
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(reader)
                return
        self._drop(reader)

    def _take(self) -> _Reader:
        while True:
            with self._lock:
                if self._closed:
                    raise ReaderFailed("the server is stopping")
                reader = self._idle.pop() if self._idle else None
            if reader is None:
                return self._new()
            if reader.alive:
                return reader
            self._drop(reader)

    def _new(self) -> _Reader:
        reader = _Reader(self._memory_bytes, self._stall_seconds)
        with self._lock:
            if not self._closed:
                self._all.add(reader)
                return reader
        reader.end()
        raise ReaderFailed("the server is stopping")

    def _drop(self, reader: _Reader) -> None:
        reader.end()
        with self._lock:
            self._all.discard(reader)


class _Places:
    """Who may use a reader: of several, no owner has all, and heavy volumes have not all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._share = max(most - 1, 1)
        self._used: Counter[str | None] = Counter()
        self._heavy = 0
        self._changed = threading.Condition()

    @contextmanager
    def one(self, owner: str | None, *, heavy: bool) -> Iterator[None]:
        """Waits for a place, and has it until the end of the context."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_free(owner, heavy=heavy))
            self._count(owner, +1, heavy=heavy)
        try:
            yield
        finally:
            with self._changed:
                self._count(owner, -1, heavy=heavy)
                self._changed.notify_all()

    def _is_free(self, owner: str | None, *, heavy: bool) -> bool:
        share = owner is None or self._used[owner] < self._share  # without keys there are no others
        return share and (not heavy or self._heavy < self._share) and self._used.total() < self._most

    def _count(self, owner: str | None, change: int, *, heavy: bool) -> None:
        self._used[owner] += change
        self._heavy += change * heavy
        if not self._used[owner]:
            del self._used[owner]


class _Reader:
    """One process, and the pipe to it."""

    def __init__(self, memory_bytes: int, stall_seconds: float) -> None:
        """Returns when it is ready. Raises ReaderFailed."""
        self._stall_seconds = stall_seconds
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = _started(theirs, memory_bytes)
        try:
            ready = self._pipe.poll(_START_SECONDS) and self._pipe.recv_bytes(len(reader_process.READY))
        except (EOFError, OSError):
            ready = False
        if not ready:
            self.end()
            raise ReaderFailed(f"a reader did not start (exit status {self._process.returncode})")

    @property
    def alive(self) -> bool:
        """Whether it waits for a file: it ends by itself where one has left it with little memory."""
        return self._process.poll() is None and not self._pipe.poll()

    def ask(self, asked: dict[str, Any], path: Path) -> bytes:
        """The answer for one file. Raises FormatError if it never comes."""
        try:
            self._pipe.send_bytes(pickle.dumps(asked))
            while self._pipe.poll(self._stall_seconds):
                message = self._pipe.recv_bytes(_LONGEST_ANSWER)
                if message != reader_process.GOES_ON:
                    return message
        except (EOFError, OSError):
            raise FormatError(path, f"the file could not be read: it {self._ending()}", _READABLE) from None
        stuck = f"the file could not be read: nothing of it came for {self._stall_seconds:g} seconds"
        raise FormatError(path, stuck, _READABLE)

    def _ending(self) -> str:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "said what no reader says"
        if status >= 0:
            return f"ended its reader with status {status}"
        return f"crashed its reader ({signal.Signals(-status).name})"

    def kill(self) -> None:
        """Ends its process, and waits until it has; who asked it hears so."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Ends its process and closes the pipe; for who uses it, and nobody else."""
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._pipe.close()


_READABLE = "a file whose slices can be read one after another; its format may be damaged in a way that is not known"


def _started(theirs: Connection, memory_bytes: int) -> subprocess.Popen[bytes]:
    environment = {name: value for name in _ENVIRONMENT if (value := os.environ.get(name)) is not None}
    search = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - '' is this folder
    command = [sys.executable, "-P", "-m", reader_process.__name__, str(theirs.fileno()), str(memory_bytes)]
    return subprocess.Popen(
        command,
        env={**environment, **_FEW_THREADS, "PYTHONPATH": search},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
    )
