"""A site: all of compose.yaml that runs here, with a first champion, and what its scans have to look like."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scans.formats import create_volume, open_volume
from scans.geometry import Frame, Spacing
from scans.model.manifest import MODEL_FILE, ModelManifest
from tests.deploy.clients import BOUND_SECONDS, Clients
from tests.deploy.composition import Composition
from tests.deploy.containers import Container
from tests.deploy.network import network
from tests.images.small_pipeline import small_pipeline

SHAPE = (192, 96, 96)
"""Six slabs of the size that compose.yaml leaves to the server."""
TRAINING_SECONDS = 1800
_ROUNDING = 0.005
"""Share of voxels in which an answer may differ from the bare model's, which computes in other batches."""
_ALIKE = {"RICEFISH_PRECISION": "float32", "RICEFISH_ENGINE": "onnxruntime"}
"""For both workers, which else measure for themselves, and for the bare model."""


@dataclass
class Site:
    """The services, the repository that they train in, and the versions that they have made."""

    composition: Composition
    project: Path
    folder: Path
    models: dict[str, Path] = field(default_factory=dict)
    """Folders of the exported models by version, as they were when they were registered."""

    def train(self, *command: str) -> str:
        """Runs the pipeline where compose.yaml runs it; gives the version that it has registered."""
        self.composition.run("training", *command, seconds=TRAINING_SECONDS)
        version = str(len(self.models) + 1)
        self.models[version] = self.folder / f"model-{version}"
        shutil.copytree(self.project / "models" / "student", self.models[version])
        return version

    def promote(self) -> str:
        """Makes the candidate the champion, if the gate lets it; gives what was said."""
        return self.composition.run("training", "python", "-m", "ricefish", "models", "promote", "ricefish")

    def get(self, path: str, *, service: str = "server", port: int = 8000) -> Any:
        """What a service answers, in JSON."""
        url = f"{self.composition.url(service, port)}{path}"
        return httpx.get(url, timeout=BOUND_SECONDS, trust_env=False).raise_for_status().json()

    def ready(self) -> bool:
        """Whether the server would be sent anything by a balancer."""
        url = f"{self.composition.url('server', 8000)}/health/ready"
        return httpx.get(url, timeout=BOUND_SECONDS, trust_env=False).status_code == 200

    def champion(self) -> str:
        """The version that the server segments new scans with."""
        return str(self.get("/v1/models")["models"][0]["version"])

    def clients(self) -> Clients:
        return Clients(self.composition.url("server", 8000), self._file())

    def post(self) -> httpx.Response:
        """What the server says to one more scan."""
        url, query = f"{self.composition.url('server', 8000)}/v1/scans", {"filename": "fish.nii", "fresh": "true"}
        content = self._file().read_bytes()
        return httpx.post(url, params=query, content=content, timeout=BOUND_SECONDS, trust_env=False)

    def busy_worker(self) -> tuple[Container, str]:
        """A worker that is in the first half of a scan, and that scan."""
        found: list[tuple[str, str]] = []

        def look() -> bool:
            running = self.get("/v1/scans?state=running")["scans"]
            found.extend((s["worker"], s["id"]) for s in running if 0 < s["slices_done"] <= s["slices_total"] // 2)
            return bool(found)

        until(look)
        worker, scan_id = found[0]
        return self.composition.container(worker.rpartition("-")[0]), scan_id

    def result(self, scan_id: str) -> bytes:
        url = f"{self.composition.url('server', 8000)}/v1/scans/{scan_id}/segmentation"
        return httpx.get(url, timeout=BOUND_SECONDS, trust_env=False).raise_for_status().content

    def check(self, clients: Clients) -> None:
        """Every scan that was accepted has succeeded, once, with the answer of the version that it names."""
        assert not clients.faults, clients.faults
        logs = "".join(worker.log() for worker in self.composition["worker"])
        for scan_id in clients.accepted:
            scan = self.get(f"/v1/scans/{scan_id}")
            assert (scan["state"], scan["slices_done"]) == ("succeeded", SHAPE[0]), scan
            assert len(re.findall(rf"event=scan_succeeded scan={scan_id}", logs)) == 1, scan
            target = self.folder / f"{scan_id}.nii.gz"
            target.write_bytes(self.result(scan_id))
            with open_volume(target) as volume:
                differs = float((volume.read() != self._expected(scan["model"]["version"])).mean())
            assert differs <= _ROUNDING, f"{scan_id}: {differs:.2%} of the voxels are wrong"

    def _expected(self, version: str) -> NDArray[np.uint8]:
        """What ONNX Runtime alone says, slice by slice."""
        kept = self.folder / f"expected-{version}.npy"
        if not kept.exists():
            model = self.models[version]
            manifest = ModelManifest.read(model)
            session = onnxruntime.InferenceSession(model / MODEL_FILE, providers=["CPUExecutionProvider"])
            with open_volume(self._file()) as volume:
                window = manifest.intensity.window(volume)
                ends = np.array([[window.lower, window.upper]], np.float32)
                slices = volume.read()[:, np.newaxis].astype(np.float32)
            answers = [session.run(["segmentation"], {"slices": one, "window": ends})[0] for one in slices]
            np.save(kept, np.concatenate(answers))
        expected: NDArray[np.uint8] = np.load(kept)
        return expected

    def _file(self) -> Path:
        path = self.folder / "fish.nii"
        if not path.exists():
            grey = np.random.default_rng(1).integers(0, 4000, SHAPE).astype(np.uint16)
            grey[:, 32:64, 32:64] //= 4
            frame = Frame.from_lps(Spacing(0.01, 0.01, 0.01))
            with create_volume(path, shape=SHAPE, dtype=grey.dtype, frame=frame) as writer:
                writer.write(grey)
        return path


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextmanager
def a_site(folder: Path) -> Iterator[Site]:
    """Started as docs/deployment.md says: the stores, training, the first champion, then a server and two workers."""
    project = small_pipeline(folder / "project")
    subprocess.run(["bash", project / "deploy/compose/make-secrets"], check=True, capture_output=True)
    with network() as network_, closing(Composition(project, folder, network_, variables=_ALIKE)) as composition:
        owner = composition.services["training"].user or ""
        subprocess.run(["chown", "--recursive", owner, project], check=True)
        site = Site(composition, project, folder)
        if composition.has("prometheus"):
            composition.up("prometheus")
        site.train()
        site.promote()
        composition.up("server")
        composition.up("worker", scale=2)
        yield site
