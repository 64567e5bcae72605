"""Load: clients that ask for single slices and whole scans without a pause, and note what they were answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.threads import Threads
from tests.serving.models import GOLDEN_WINDOW, run_offline
from tests.serving.running import RunningServer

_SIDE = 64
_SLICES = 24


@dataclass
class Load(Threads):
    """Two clients that ask for single slices, and two that post scans, one after the other, as long as it lasts.

    `models` are the folders by version: every answer must be, pixel for pixel, that of the version that it names.
    """

    url: str
    models: Mapping[str, Path]
    folder: Path
    single: Counter[str] = field(default_factory=Counter)
    """Answers to single slices, by version."""
    scans: Counter[str] = field(default_factory=Counter)
    """Results of scans, by version."""
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        grey = np.random.default_rng(3).uniform(0, 100, (_SLICES, _SIDE, _SIDE)).astype(np.float32)
        grey[:, 0, 0], grey[:, 0, 1] = 0.0, 100.0
        self._grey: NDArray[np.float32] = grey
        self._expected = {v: run_offline(folder, grey, GOLDEN_WINDOW) for v, folder in self.models.items()}
        self._path = self.folder / "load.nii"
        image = nib.Nifti1Image(grey.T, np.eye(4, dtype=np.float32))
        nib.save(image, self._path)
        super().__init__(*(partial(self._repeat, number) for number in range(4)))

    def until(self, server: RunningServer, version: str, *, single: int, scans: int) -> None:
        """Returns when so many more answers of that version have come, or something has failed."""
        enough = self.single[version] + single, self.scans[version] + scans
        server.until(
            lambda: bool(self.faults) or (self.single[version] >= enough[0] and self.scans[version] >= enough[1]),
            seconds=180,
        )

    def _repeat(self, number: int) -> None:
        ask = self._ask_slice if number % 2 else self._ask_scan
        with httpx.Client(base_url=self.url, timeout=60) as http:
            turn = number
            while not self.stopping.is_set() and not self.faults:
                try:
                    ask(http, turn)
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    self.faults.append(f"{type(error).__name__}: {error}")
                turn += 4

    def _ask_slice(self, http: httpx.Client, turn: int) -> None:
        index = turn % _SLICES
        one = self._grey[index]
        inputs = [
            {"name": "slices", "shape": [1, _SIDE, _SIDE], "datatype": "FP32", "data": one.ravel().tolist()},
            {"name": "window", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 100.0]},
        ]
        answer = http.post("/v2/models/ricefish/infer", json={"inputs": inputs}).raise_for_status().json()
        found = np.array(answer["outputs"][0]["data"], dtype=np.uint8).reshape(_SIDE, _SIDE)
        self._note(self.single, answer["model_version"], found, self._expected[answer["model_version"]][index])

    def _ask_scan(self, http: httpx.Client, turn: int) -> None:
        query = {"filename": "load.nii", "fresh": "true"}
        scan = http.post("/v1/scans", params=query, content=self._path.read_bytes()).raise_for_status().json()
        while scan["state"] in ("queued", "running"):
            self.stopping.wait(0.05)
            scan = http.get(f"/v1/scans/{scan['id']}").raise_for_status().json()
        if scan["state"] != "succeeded":
            raise ValueError(f"a scan {scan['state']}: {scan['error']}")
        content = http.get(f"/v1/scans/{scan['id']}/segmentation", params={"format": "nii.gz"}).raise_for_status()
        path = self.folder / f"{scan['id']}.nii.gz"
        path.write_bytes(content.content)
        found = np.asarray(nib.load(path).dataobj, dtype=np.uint8).T
        self._note(self.scans, scan["model"]["version"], found, self._expected[scan["model"]["version"]])

    def _note(self, answers: Counter[str], version: str, found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
        if not np.array_equal(found, expected):
            raise ValueError(f"an answer of version {version} holds pixels that are not that version's")
        answers[version] += 1
