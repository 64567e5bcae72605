"""A real server: `ricefish serve` as a process of its own on a free port of the loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx


class RunningServer:
    """Start it, use its `url`, kill it, start it again: the store stays."""

    def __init__(
        self, folder: Path, model: Path | str | None, *, store: Path | None = None, **settings: object
    ) -> None:
        """The log and, unless they are given a place of their own, the scans lie in `folder`."""
        self.store = store or folder / "store"
        self._log = folder / "server.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RICEFISH_")},
            "RICEFISH_THREADS": "1",
            "RICEFISH_BATCH_SIZE": "4",
            "RICEFISH_DEVICE": "cpu",
            **{f"RICEFISH_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.model = model
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        self.http = httpx.Client(timeout=60)

    def start(self, *, port: str = "0") -> RunningServer:
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "ricefish",
                    "serve",
                    *(["--model", str(self.model)] if self.model else []),
                    "--port",
                    port,
                    "--store",
                    str(self.store),
                ],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        address = re.search(r"https?://\S+", self.process.stdout.readline())
        assert address, self.log
        self.url = address.group()
        return self

    def delete(self, path: str) -> httpx.Response:
        return self.http.delete(self.url + path)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> httpx.Response:
        return self.http.get(self.url + path)

    @property
    def incoming(self) -> Path:
        """Where bytes lie that are no scan yet."""
        return self.store / "scratch" / "incoming"

    def post(self, body: bytes | Path, filename: str, *, key: str | None = None, **query: str) -> httpx.Response:
        """As a new scan, unless `fresh` says otherwise."""
        query = {"fresh": "true", **query}
        content = body.read_bytes() if isinstance(body, Path) else body
        headers = {} if key is None else {"Idempotency-Key": key}
        parameters = {"filename": filename, **query}
        return self.http.post(f"{self.url}/v1/scans", content=content, params=parameters, headers=headers)

    def until(self, reached: Callable[[], bool], *, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def until_ended(self, scan_id: str) -> dict[str, object]:
        self.until(lambda: self.get(f"/v1/scans/{scan_id}").json()["state"] not in ("queued", "running"))
        status: dict[str, object] = self.get(f"/v1/scans/{scan_id}").json()
        return status

    def slabs_logged(self, scan_id: str) -> list[int]:
        """Numbers of the slabs of a scan that were segmented, in order, over all starts."""
        return [int(number) for number in re.findall(rf"event=slab_finished scan={scan_id} slab=(\d+)", self.log)]

    def end(self, with_signal: int = signal.SIGTERM) -> int:
        """Signals the process and gives its exit status."""
        assert self.process is not None
        self.http.close()
        self.http = httpx.Client(timeout=60)
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status
