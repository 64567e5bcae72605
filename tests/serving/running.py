"""A real server, `ricefish serve` as a process of its own, and how tests ask it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from harness import forked, servers


class RunningServer:
    """Start it, use its `url`, kill it, start it again: the store stays."""

    def __init__(
        self,
        folder: Path,
        model: Path | str | None,
        *,
        store: Path | None = None,
        fork: bool = True,
        **settings: object,
    ) -> None:
        """The log and, unless they are given a place of their own, the scans lie in `folder`.

        Unless it shall `fork` from a process that has imported everything, it starts as users start it.
        """
        self.store = store or folder / "store"
        given = {"threads": 1, "batch_size": 4, "store": self.store, **settings}
        self.process = (forked if fork else servers).server(folder, model=model, **given)
        self.http = httpx.Client(timeout=60)

    def start(self, *, same_port: bool = False) -> RunningServer:
        """On a free port, or on the one that it had before. Raises DidNotStart."""
        if not same_port:
            self.process.url = ""
        self.process.start()
        return self

    def set(self, **settings: object) -> None:
        """From the next start on."""
        self.process.settings |= {name: str(value) for name, value in settings.items()}

    @property
    def model(self) -> Path:
        """A folder."""
        return Path(self.process.settings["model"])

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def log(self) -> str:
        return self.process.log.read_text()

    @property
    def incoming(self) -> Path:
        """Where bytes lie that are no scan yet."""
        return self.store / "scratch" / "incoming"

    def get(self, path: str) -> httpx.Response:
        return self.http.get(self.url + path)

    def delete(self, path: str) -> httpx.Response:
        return self.http.delete(self.url + path)

    def post(self, body: bytes | Path, filename: str, *, key: str | None = None, **query: str) -> httpx.Response:
        """As a new scan, unless `fresh` says otherwise."""
        query = {"fresh": "true", **query}
        content = body.read_bytes() if isinstance(body, Path) else body
        headers = {} if key is None else {"Idempotency-Key": key}
        parameters = {"filename": filename, **query}
        return self.http.post(f"{self.url}/v1/scans", content=content, params=parameters, headers=headers)

    def until(self, reached: Callable[[], bool], *, seconds: float = 120.0) -> None:
        """Fails, with the log, where that takes for ever."""
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

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Signals the process, unless it has ended, and gives its exit status; 0 where none was started."""
        self.http.close()
        self.http = httpx.Client(timeout=60)
        return self.process.end(with_signal)
