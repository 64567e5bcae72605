"""A client that sends through a relay, and where its upload stands."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import nibabel as nib
import numpy as np

from harness.offline import run_offline
from ricefish.client import Client
from scans.formats import open_volume
from scans.intensity import IntensityRule
from tests.e2e.resumable.relay import Relay
from tests.serving.running import RunningServer

ENOUGH_BYTES = 9 << 20
"""By then the first part, of 4 MiB, has been kept, and the second is under way."""
KEY = "rf_not-to-be-shown"


def start(relay: Relay, scan: Path, out: Path, *options: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ricefish", "segment", str(scan), "-o", str(out), "--server", relay.url]
    environment = {**os.environ, "RICEFISH_API_KEY": KEY, "COLUMNS": "120", "TERM": "xterm"}
    return subprocess.Popen(
        [*command, "--resume-above", "1", *options], env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
    )


def uploads(server: RunningServer) -> Path:
    return server.store / "scratch" / "uploads"


def until_half(server: RunningServer) -> Path:
    """The file of the only upload, once the client is in its middle."""
    server.until(lambda: any(data.stat().st_size > ENOUGH_BYTES for data in uploads(server).glob("*/data")))
    (data,) = uploads(server).glob("*/data")
    return data


def settled(server: RunningServer, data: Path) -> int:
    """How much the server keeps of an upload whose client is gone: whole parts, of 4, 8 and 16 MiB."""
    server.until(lambda: data.stat().st_size in (4 << 20, 12 << 20))
    return data.stat().st_size


def assert_right(model: Path, scan: Path, out: Path) -> None:
    with open_volume(scan) as volume:
        expected = run_offline(model, volume.read(), IntensityRule(0.0, 100.0).window(volume))
    np.testing.assert_array_equal(np.asarray(nib.load(out).dataobj).T, expected)


def client(relay: Relay, **options: float) -> Client:
    return Client(relay.url, **{"resumable_bytes": 1 << 20, "patience_seconds": 20.0, **options})


def on_a_terminal(process: subprocess.Popen[str], terminal: int) -> tuple[str, str]:
    """What a process says on stdout and draws on its terminal."""
    drawn: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(terminal, 65536):
                drawn.append(piece)
        except OSError:  # Linux: the last process on it has ended
            return

    reader = threading.Thread(target=read)
    reader.start()
    said, _ = process.communicate(timeout=120)
    reader.join()
    return said, b"".join(drawn).decode()
