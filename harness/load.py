"""Load: clients that ask for single slices and whole scans without a pause, and check every answer."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from harness.offline import run_offline
from harness.servers import wait_until_ended
from harness.threads import Threads
from scans.formats import create_volume, open_volume
from scans.geometry import Frame, Spacing
from scans.intensity import Window

NAME = "ricefish"
"""Of the model that is asked."""
_LONGEST_SECONDS = 300.0
_DATATYPES = {"uint16": "UINT16", "float32": "FP32"}


class Wrong(RuntimeError):
    """A request failed, or an answer is not that of the version that it names."""


@dataclass
class CheckedLoad(Threads):
    """Two clients that ask for single slices, and others that post all of them as a scan, as long as it lasts.

    Every answer must be that of the version that it names.
    """

    url: str
    models: Mapping[str, Path]
    """Folders by version."""
    grey: NDArray[Any]
    """uint16 or float32 (Z, Y, X)."""
    window: Window
    """In which the models see it."""
    scan_clients: int = 1
    pause_seconds: float = 0.0
    """Between an answer and the next slice, as of somebody who looks at it."""
    rounding: float = 0.0
    """Share of a slice's pixels that may differ from the bare model's, which computes in other batches."""
    answered: list[tuple[float, float]] = field(default_factory=list)
    """When each single slice was asked for and answered, by `time.perf_counter`."""
    slices: Counter[str] = field(default_factory=Counter)
    """Answers to single slices, by version."""
    scans: Counter[str] = field(default_factory=Counter)
    """Results of scans, by version."""
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._expected = {v: run_offline(folder, self.grey, self.window) for v, folder in self.models.items()}
        asks = (self._slice, self._slice, *(self._scan for _ in range(self.scan_clients)))
        super().__init__(*(partial(self._repeat, ask) for ask in asks))

    def until(self, reached: Callable[[], bool]) -> None:
        """Raises Wrong as soon as something is, or if it takes for ever."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while not reached():
            self.check()
            if time.monotonic() > deadline:
                raise Wrong(f"nothing came for {_LONGEST_SECONDS:.0f} s")
            time.sleep(0.02)

    def until_answered(self, version: str, *, slices: int, scans: int) -> None:
        """Returns when so many more answers of that version have come. Raises Wrong, as `until`."""
        enough = self.slices[version] + slices, self.scans[version] + scans
        self.until(lambda: self.slices[version] >= enough[0] and self.scans[version] >= enough[1])

    def check(self) -> None:
        """Raises Wrong if anything was."""
        if self.faults:
            raise Wrong("; ".join(self.faults))

    def seconds_within(self, windows: Sequence[tuple[float, float]]) -> list[float]:
        """Seconds of the single slices that were under way within one of these times."""
        return [
            end - begun
            for begun, end in self.answered
            if any(begun < until and end > since for since, until in windows)
        ]

    def _repeat(self, ask: Callable[[httpx.Client, int], None]) -> None:
        turn = 0
        with httpx.Client(base_url=self.url, timeout=120, trust_env=False) as http:
            while not self.stopping.is_set() and not self.faults:
                try:
                    ask(http, turn)
                except (httpx.HTTPError, Wrong, KeyError, ValueError) as error:
                    self.faults.append(f"{type(error).__name__}: {error}")
                turn += 1

    def _slice(self, http: httpx.Client, turn: int) -> None:
        index = turn % len(self.grey)
        content = self.grey[index].tobytes()
        slices = {
            "name": "slices",
            "shape": [1, *self.grey.shape[1:]],
            "datatype": _DATATYPES[self.grey.dtype.name],
            "parameters": {"binary_data_size": len(content)},
        }
        ends = [self.window.lower, self.window.upper]
        window = {"name": "window", "shape": [1, 2], "datatype": "FP32", "data": ends}
        outputs = [{"name": "segmentation", "parameters": {"binary_data": True}}]
        said = json.dumps({"inputs": [slices, window], "outputs": outputs}).encode()
        headers = {"Inference-Header-Content-Length": str(len(said))}
        began = time.perf_counter()
        answer = http.post(f"/v2/models/{NAME}/infer", content=said + content, headers=headers).raise_for_status()
        self.answered.append((began, time.perf_counter()))
        length = int(answer.headers["Inference-Header-Content-Length"])
        version = json.loads(answer.content[:length])["model_version"]
        found = np.frombuffer(answer.content[length:], np.uint8).reshape(1, *self.grey.shape[1:])
        self._compare(version, found, self._expected[version][index : index + 1])
        self.slices[version] += 1
        self.stopping.wait(self.pause_seconds)

    def _scan(self, http: httpx.Client, turn: int) -> None:
        with tempfile.TemporaryDirectory(prefix="ricefish-load-") as folder:
            file, target = Path(folder) / "fish.nii", Path(folder) / "organs.nii.gz"
            frame = Frame.from_lps(Spacing(0.01, 0.01, 0.01))
            with create_volume(file, shape=self.grey.shape, dtype=self.grey.dtype, frame=frame) as writer:
                writer.write(self.grey)
            query = {"filename": f"fish-{turn}.nii", "fresh": "true"}
            posted = http.post("/v1/scans", params=query, content=file.read_bytes()).raise_for_status().json()
            scan = wait_until_ended(http, posted["id"], every_seconds=0.05)
            if scan["state"] != "succeeded":
                raise Wrong(f"a scan {scan['state']}: {scan['error']}")
            target.write_bytes(http.get(f"/v1/scans/{posted['id']}/segmentation").raise_for_status().content)
            with open_volume(target) as volume:
                version = posted["model"]["version"]
                self._compare(version, volume.read(), self._expected[version])
            http.delete(f"/v1/scans/{posted['id']}").raise_for_status()
            self.scans[version] += 1

    def _compare(self, version: str, found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
        """Slice by slice: one of another version would differ in most of its pixels."""
        worst = float((found != expected).mean(axis=(1, 2)).max())
        if worst > self.rounding:
            raise Wrong(f"an answer of version {version} differs from that version's in {worst:.1%} of a slice")
