"""Mix: scans, uploads, cancellations, swaps of a plain model and single slices, for minutes; nothing grows meanwhile.

Flat is: of memory, handles, threads and the database, the median of the last third of the time is at most a tenth, and
a little that is stated per kind, above that of the second; the first is for caches to fill.
"""

from __future__ import annotations

import random
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from attack import specimens
from attack.prober import watching
from attack.tally import Arena, Tally
from harness import servers
from harness.forked import ForkedProcess
from harness.threads import Threads

_PLAIN = "plain"
_SLACK: Mapping[str, float] = {"bytes of memory": 20e6, "handles": 5, "threads": 2, "bytes of the database": 200_000}
"""That the median may be above, besides a tenth."""
_SAMPLE_SECONDS = 0.5
_UNAVAILABLE = (429, 503, 507)


class Refused(RuntimeError):
    """An answer that should not have been."""


@dataclass
class _Clients:
    url: str
    scan: Path
    seed: int
    tally: Tally
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def all(self) -> list[Callable[[], None]]:
        asks = {
            "scans": self._scan,
            "uploads": self._upload,
            "cancellations": self._cancel,
            "slices": self._slice,
            "swaps": self._swap,
        }
        return [partial(self._repeat, name, ask) for name, ask in asks.items()]

    def _repeat(self, name: str, ask: Callable[[httpx.Client], None]) -> None:
        dice = random.Random(f"{self.seed} {name}")  # noqa: S311 - not for secrets
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as http:
            while not self.stopping.is_set():
                try:
                    ask(http)
                    with self.lock:
                        self.tally.count(name)
                except (httpx.HTTPError, Refused, TimeoutError, KeyError) as error:
                    with self.lock:
                        self.tally.find(f"{name}: {type(error).__name__}: {error}", "python -m attack --only mix")
                self.stopping.wait(dice.uniform(0.01, 0.1))

    def _scan(self, http: httpx.Client) -> None:
        self._through(http, specimens.post(http, self.scan))

    def _upload(self, http: httpx.Client) -> None:
        scan_id = specimens.take_upload(http, specimens.upload(http, self.scan), self.scan.name)
        if scan_id is None:
            raise Refused("an upload was refused")
        self._through(http, scan_id)

    def _through(self, http: httpx.Client, scan_id: str) -> None:
        state = specimens.wait(http, scan_id)
        if state != "succeeded":
            raise Refused(f"a scan ended as {state}")
        specimens.ask(http, scan_id)
        http.delete(f"/v1/scans/{scan_id}").raise_for_status()

    def _cancel(self, http: httpx.Client) -> None:
        scan_id = specimens.post(http, self.scan, priority="backlog")
        http.post(f"/v1/scans/{scan_id}/cancel")
        specimens.wait(http, scan_id)
        http.delete(f"/v1/scans/{scan_id}").raise_for_status()

    def _slice(self, http: httpx.Client) -> None:
        inputs = [
            {"name": "slices", "shape": [1, 16, 16], "datatype": "UINT16", "data": list(range(256))},
            {"name": "window", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 4000.0]},
        ]
        model = http.get("/v1/model").raise_for_status().json()["name"]
        answer = http.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
        if answer.status_code not in (200, *_UNAVAILABLE):
            raise Refused(f"a slice was answered with {answer.status_code} {answer.text[:200]}")

    def _swap(self, http: httpx.Client) -> None:
        for what in ("load", "unload"):
            http.post(f"/v2/repository/models/{_PLAIN}/{what}").raise_for_status()
        self.stopping.wait(0.5)


def attack(arena: Arena, *, seconds: float) -> Tally:
    """As long as that."""
    tally = Tally("mix")
    plain = arena.folder / "repository" / _PLAIN
    plain.mkdir(parents=True)
    shutil.copy(arena.model / "model.onnx", plain / "model.onnx")
    settings = {"threads": 1, "batch_size": 4, "model_repository": plain.parent}
    process = ForkedProcess.of(servers.server(arena.folder, model=arena.model, **settings))
    process.start()
    scan = specimens.write_scan(arena.folder / "scan.nii.gz", seed=arena.seed)
    clients = _Clients(process.url, scan, arena.seed, tally)
    threads = Threads(*clients.all())
    threads.stopping = clients.stopping
    samples: list[dict[str, float]] = []
    try:
        with watching(process.url, process.pid) as watched, threads:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                samples.append(_sample(process, arena.folder / "store"))
                arena.say(f"{until - time.monotonic():.0f} s left, {tally.found} findings")
                time.sleep(_SAMPLE_SECONDS)
        watched.note(tally, "the mix")
    finally:
        process.stop()
    _judge(tally, samples)
    return tally


def _sample(process: ForkedProcess, store: Path) -> dict[str, float]:
    folder = Path(f"/proc/{process.pid}")
    return {
        "bytes of memory": process.resident_bytes(),
        "handles": len(list((folder / "fd").iterdir())),
        "threads": len(list((folder / "task").iterdir())),
        "bytes of the database": sum(path.stat().st_size for path in store.glob("jobs.sqlite*")),
    }


def _judge(tally: Tally, samples: list[dict[str, float]]) -> None:
    third = len(samples) // 3
    if not third:
        return
    for what, slack in _SLACK.items():
        before = statistics.median(one[what] for one in samples[third : 2 * third])
        after = statistics.median(one[what] for one in samples[2 * third :])
        tally.measure(f"{what}, second third", before)
        tally.measure(f"{what}, last third", after)
        if after > before * 1.1 + slack:
            tally.find(f"{what} grew from {before:,.0f} to {after:,.0f}", "python -m attack --only mix")
