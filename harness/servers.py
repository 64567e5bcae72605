"""Servers and workers as processes of their own on the loopback: to be asked, measured, killed and started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import httpx

RICEFISH = (sys.executable, "-m", "ricefish")
START_SECONDS = 300.0
"""After which a process that says nothing is killed."""
STOP_SECONDS = 120.0
"""After which a process that was told to stop is killed."""
_LINES = 15


class DidNotStart(RuntimeError):
    """A process that ended before it was ready; the message holds the end of its log."""


class Running(Protocol):
    """What is asked of a running process: as `subprocess.Popen` does it."""

    @property
    def pid(self) -> int:
        """Of the process."""
        ...

    @property
    def stdout(self) -> IO[str] | None:
        """What it says."""
        ...

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once there is one. Raises subprocess.TimeoutExpired."""
        ...

    def send_signal(self, sig: int) -> None:
        """Sends a signal."""
        ...

    def kill(self) -> None:
        """Sends SIGKILL."""
        ...


@dataclass
class Process:
    """`ricefish serve` or `ricefish worker`, with its settings; the same ones at every start."""

    command: tuple[str, ...]
    settings: dict[str, str]
    """By their names without RICEFISH_. None comes from the environment of this process."""
    log: Path
    """All starts are written into one file."""
    folder: Path | None = None
    """That it works in; None: ours."""
    url: str = ""
    """Of a server; a worker has none."""
    running: Running | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def pid(self) -> int:
        """Of the running process. Raises DidNotStart where there is none."""
        if self.running is None:
            raise DidNotStart("it was not started")
        return self.running.pid

    def start(self) -> Process:
        """Starts it and waits until it says that it works; a server gets the port that it had before.

        Raises DidNotStart. A signal to the terminal reaches it through whoever started it alone.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.log.open("a") as log:
            self.running = self.launched(log)
            said = self._first_line()
        if not said:
            status = self._close()
            end = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:])
            raise DidNotStart(
                f"`ricefish {self.command[0]}` ended with exit code {status}; its log {self.log} ends with\n{end}"
            )
        address = re.search(r"https?://\S+", said)
        self.url = address.group() if address else ""
        return self

    def launched(self, log: IO[str]) -> Running:
        """A new process that says on `stdout` when it works, and logs there."""
        return subprocess.Popen(
            [*RICEFISH, *self.command],
            env=self.environment(),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )

    def environment(self) -> dict[str, str]:
        """Of the process: ours, but for what is Ricefish's; that comes from its settings."""
        given = {**self.settings, "port": self.url.rpartition(":")[2] or "0"}
        return {**_surroundings(), **{f"RICEFISH_{key.upper()}": value for key, value in given.items()}}

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and SIGKILL where that takes too long; gives the exit status."""
        return self.end(signal.SIGTERM)

    def wait(self) -> int:
        """Until it has ended, without a word to it; gives the exit status."""
        with self._lock:
            return self._close()

    def end(self, number: signal.Signals) -> int:
        """With that signal, as `stop`; the exit status is 0 where none runs."""
        with self._lock:
            if self.running is not None and self.running.poll() is None:
                self.running.send_signal(number)
            return self._close()

    def resident_bytes(self) -> int:
        """The memory that the process has now (VmRSS)."""
        return _status_bytes(self.pid, "VmRSS")

    def peak_bytes(self) -> int:
        """The most memory that the process has had at once (VmHWM)."""
        return _status_bytes(self.pid, "VmHWM")

    def _first_line(self) -> str:
        assert self.running is not None  # noqa: S101 - it was just started
        assert self.running.stdout is not None  # noqa: S101 - a pipe was asked for
        late = threading.Timer(START_SECONDS, self.running.kill)
        late.start()
        try:
            return self.running.stdout.readline()
        finally:
            late.cancel()

    def _close(self) -> int:
        if self.running is None:
            return 0
        try:
            status = self.running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.running.kill()
            status = self.running.wait()
        assert self.running.stdout is not None  # noqa: S101 - a pipe was asked for
        self.running.stdout.close()
        self.running = None
        return status


def server(folder: Path, *, model: Path | str | None, **settings: object) -> Process:
    """A server whose log and, unless `store` says otherwise, whose scans are in a folder."""
    given = {"store": folder / "store", "device": "cpu", **({} if model is None else {"model": model}), **settings}
    return Process(("serve",), {name: str(value) for name, value in given.items()}, folder / "server.log")


def worker(folder: Path, *, name: str, store: Path, **settings: object) -> Process:
    """A worker of that name."""
    given = {"store": store, "device": "cpu", "worker_id": name, "scratch": folder / f"scratch-{name}", **settings}
    return Process(("worker",), {key: str(value) for key, value in given.items()}, folder / f"{name}.log")


def wait_until_ended(http: httpx.Client, scan_id: str, *, every_seconds: float = 0.2) -> dict[str, object]:
    """The scan once it has ended, as the server describes it."""
    while True:
        scan: dict[str, object] = http.get(f"/v1/scans/{scan_id}").raise_for_status().json()
        if scan["state"] not in ("queued", "running"):
            return scan
        time.sleep(every_seconds)


def _surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("RICEFISH_")}


def _status_bytes(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else 0
