"""Asking: clients that ask for single slices and whole scans without a pause, and check every answer."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks import servers
from benchmarks.models import WINDOW
from benchmarks.registered import NAME
from benchmarks.threads import Threads
from scans.formats import create_volume, open_volume
from scans.geometry import Frame, Spacing
from scans.model.manifest import MODEL_FILE

SIDE = 256
_PAUSE_SECONDS = 0.02
"""Between an answer and the next slice, as of somebody who looks at it."""
_ROUNDING = 0.005
"""Share of pixels in which an answer may differ from the bare model's, which computes in other batches."""
_LONGEST_SECONDS = 300.0


class Wrong(RuntimeError):
    """A request failed, or an answer is not that of the version that it names."""


@dataclass
class Asking(Threads):
    """Two clients that ask for single slices, and one that posts scans of so many `slices`."""

    url: str
    models: Mapping[str, Path]
    """Folders by version."""
    slices: int
    answered: list[tuple[float, float]] = field(default_factory=list)
    """When each single slice was asked for and answered, by `time.perf_counter`."""
    scans: int = 0
    """Results that have been checked."""
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        grey = np.random.default_rng(5).integers(0, 4000, (self.slices, SIDE, SIDE)).astype(np.uint16)
        self._grey: NDArray[np.uint16] = grey
        self._expected = {version: _alone(folder, grey) for version, folder in self.models.items()}
        super().__init__(*(partial(self._repeat, one) for one in (self._slice, self._slice, self._scan)))

    def until(self, reached: Callable[[], bool]) -> None:
        """Raises Wrong as soon as something is, or if it takes for ever."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while not reached():
            self.check()
            if time.monotonic() > deadline:
                raise Wrong(f"nothing came for {_LONGEST_SECONDS:.0f} s")
            time.sleep(0.02)

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
        index = turn % self.slices
        content = self._grey[index].tobytes()
        inputs = [
            {
                "name": "slices",
                "shape": [1, SIDE, SIDE],
                "datatype": "UINT16",
                "parameters": {"binary_data_size": len(content)},
            }
        ]
        outputs = [{"name": "segmentation", "parameters": {"binary_data": True}}]
        said = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
        headers = {"Inference-Header-Content-Length": str(len(said))}
        began = time.perf_counter()
        answer = http.post(f"/v2/models/{NAME}/infer", content=said + content, headers=headers).raise_for_status()
        self.answered.append((began, time.perf_counter()))
        length = int(answer.headers["Inference-Header-Content-Length"])
        version = json.loads(answer.content[:length])["model_version"]
        found = np.frombuffer(answer.content[length:], np.uint8).reshape(1, SIDE, SIDE)
        self._compare(version, found, self._expected[version][index : index + 1])
        self.stopping.wait(_PAUSE_SECONDS)

    def _scan(self, http: httpx.Client, turn: int) -> None:
        with tempfile.TemporaryDirectory(prefix="ricefish-asking-") as folder:
            file, target = Path(folder) / "fish.nii", Path(folder) / "organs.nii.gz"
            frame = Frame.from_lps(Spacing(0.01, 0.01, 0.01))
            with create_volume(file, shape=self._grey.shape, dtype=self._grey.dtype, frame=frame) as writer:
                writer.write(self._grey)
            query = {"filename": f"fish-{turn}.nii", "fresh": "true"}
            posted = http.post("/v1/scans", params=query, content=file.read_bytes()).raise_for_status().json()
            scan = servers.wait_until_ended(http, posted["id"])
            if scan["state"] != "succeeded":
                raise Wrong(f"a scan {scan['state']}: {scan['error']}")
            target.write_bytes(http.get(f"/v1/scans/{posted['id']}/segmentation").raise_for_status().content)
            with open_volume(target) as volume:
                version = posted["model"]["version"]
                self._compare(version, volume.read(), self._expected[version])
            http.delete(f"/v1/scans/{posted['id']}").raise_for_status()
            self.scans += 1

    def _compare(self, version: str, found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
        """Slice by slice: one of another version would differ in most of its pixels."""
        worst = float((found != expected).mean(axis=(1, 2)).max())
        if worst > _ROUNDING:
            raise Wrong(f"an answer of version {version} differs from that version's in {worst:.1%} of a slice")


def _alone(folder: Path, grey: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """What ONNX Runtime alone says, slice by slice."""
    session = onnxruntime.InferenceSession(folder / MODEL_FILE, providers=["CPUExecutionProvider"])
    window = np.array([[WINDOW.lower, WINDOW.upper]], np.float32)
    answers = [
        session.run(["segmentation"], {"slices": one[np.newaxis].astype(np.float32), "window": window})[0]
        for one in grey
    ]
    return np.concatenate(answers)
