"""Prober: asks /health/live without a pause, and watches the memory of a server and its children, while it is attacked.

It is a process of its own, so that what keeps the attack busy does not look like a server that does not answer.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from attack.tally import Tally

MOST_STALL_SECONDS = 1.0
MOST_BYTES_ABOVE_IDLE = 2_000_000_000
_PAUSE_SECONDS = 0.05
_GIVES_UP_SECONDS = 60.0
_REQUEST = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@dataclass
class Watched:
    """What was seen; complete when the context has ended."""

    stall_seconds: float = 0.0
    """The longest time to an answer of /health/live."""
    failed: int = 0
    """Probes that got no 200."""
    probes: int = 0
    above_idle_bytes: int = 0
    """Of the process that grew most."""

    def note(self, tally: Tally, during: str) -> None:
        """Counts it, and finds what is beyond the limits."""
        tally.measure("stall_seconds", self.stall_seconds)
        tally.measure("above_idle_bytes", self.above_idle_bytes)
        tally.count("probes", self.probes)
        if self.stall_seconds > MOST_STALL_SECONDS:
            tally.find(f"/health/live took {self.stall_seconds:.1f} s during {during}", during)
        if self.failed:
            tally.find(f"/health/live failed {self.failed} times during {during}", during)
        if self.above_idle_bytes > MOST_BYTES_ABOVE_IDLE:
            tally.find(f"{self.above_idle_bytes / 1e9:.1f} GB above idle during {during}", during)


@contextmanager
def watching(url: str, pid: int) -> Iterator[Watched]:
    """Watches a server as long as the context lasts."""
    command = [sys.executable, "-m", "attack.prober", url, str(pid)]
    folder = Path(__file__).resolve().parents[1]
    watched = Watched()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        process.stdout.readline()  # it has begun
        try:
            yield watched
        finally:
            said, _ = process.communicate()
    for name, value in json.loads(said).items():
        setattr(watched, name, value)


def main() -> None:
    """Probes until standard input ends, and prints what it saw."""
    url, pid = sys.argv[1], int(sys.argv[2])
    address = urlsplit(url)
    watched = Watched()
    idle = _resident(pid)
    ended = threading.Event()
    threading.Thread(target=_until_told, args=(ended,), daemon=True).start()
    print("begun", flush=True)
    watch = threading.Thread(target=_watch_memory, args=(pid, idle, watched, ended))
    watch.start()
    while not ended.is_set():
        began = time.monotonic()
        watched.failed += not _answered(address.hostname or "", address.port or 0)
        watched.stall_seconds = max(watched.stall_seconds, time.monotonic() - began)
        watched.probes += 1
        ended.wait(_PAUSE_SECONDS)
    watch.join()
    print(json.dumps(vars(watched)))


def _until_told(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _answered(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_GIVES_UP_SECONDS) as connection:
            connection.sendall(_REQUEST)
            said = connection.recv(1000)
            return said.startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _watch_memory(pid: int, idle: dict[int, int], watched: Watched, ended: threading.Event) -> None:
    typical = idle.get(pid, 0)
    while not ended.wait(_PAUSE_SECONDS):
        for process, size in _resident(pid).items():
            above = size - idle.get(process, min(typical, size))
            watched.above_idle_bytes = max(watched.above_idle_bytes, above)


def _resident(pid: int) -> dict[int, int]:
    """Bytes of a process and all below it."""
    found: dict[int, int] = {}
    waiting = [pid]
    while waiting:
        process = waiting.pop()
        try:
            lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
            found[process] = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
            for task in Path(f"/proc/{process}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
        except OSError:
            continue
    return found


if __name__ == "__main__":
    main()
