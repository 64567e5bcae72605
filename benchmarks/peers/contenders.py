"""Contenders: Ricefish and the four others, each with its ways of running, started as processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.models import WINDOW, Size
from benchmarks.overhead import SIDE
from benchmarks.peers import dialects
from benchmarks.peers.dialects import Dialect
from benchmarks.peers.environments import Environments
from benchmarks.peers.load import BadAnswer, ask
from benchmarks.peers.trees import Tree
from harness import servers
from scans.model.manifest import MODEL_FILE

SCRIPTS = Path(__file__).resolve().parent / "served"
_START_SECONDS = 180.0
_BATCH = 8


class DidNotStart(RuntimeError):
    """A server that never answered; the message holds the end of its log."""


@dataclass(frozen=True)
class Way:
    """How a peer may be run on two cores."""

    workers: int
    """Processes that run the network."""
    threads: int
    """Of one session of ONNX Runtime."""
    batch: int
    """Slices of several requests that are merged at most; 1: none are."""

    def __str__(self) -> str:
        merged = f"batches of up to {self.batch}" if self.batch > 1 else "no batches"
        return f"{self.workers} x {self.threads} threads, {merged}"


@dataclass(frozen=True)
class Peer:
    """Another server, with what its documentation advises for throughput."""

    name: str
    """Of its environment, its lock file and its package."""
    title: str
    script: str
    dialects: tuple[Dialect, Dialect]
    """The densest, and numbers in JSON."""
    ways: tuple[Way, ...]
    """What is tried before anything is measured; the fastest is kept."""


_BATCHED = (Way(1, 2, _BATCH), Way(2, 1, _BATCH))
_SINGLE = (Way(1, 2, 1), Way(2, 1, 1))

PEERS = (
    Peer("mlflow", "mlflow models serve", "mlflow_model.py", (dialects.FRAME_BASE64, dialects.TENSOR_NUMBERS), _SINGLE),
    Peer("mlserver", "MLServer", "mlserver_runtime.py", (dialects.V2_BASE64, dialects.V2_NUMBERS), _BATCHED + _SINGLE),
    Peer("bentoml", "BentoML", "bentoml_service.py", (dialects.RAW, dialects.ARRAY_NUMBERS), _BATCHED + _SINGLE),
    Peer("litserve", "LitServe", "litserve_server.py", (dialects.RAW, dialects.OBJECT_NUMBERS), _BATCHED + _SINGLE),
)
"""`mlflow models serve` merges no requests."""

_SILENT = {
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    title: str
    url: str
    dialect: Dialect
    tree: Tree
    about: Mapping[str, str]
    """Its version and the way that it is run."""
    _stop: Callable[[], object]

    def end(self) -> None:
        """Stops it, asleep or not; returns when it is gone."""
        self.tree.thaw()
        self._stop()


def start_ricefish(folder: Path, *, model: Path, size: Size) -> Running:
    """`ricefish serve` as it comes: it finds threads and batch size by itself. Raises servers.DidNotStart."""
    process = servers.server(folder, model=model, engine="onnxruntime").start()
    about = {"version": version("ricefish"), "way": "as it comes"}
    return Running("Ricefish", process.url, dialects.binary_tensors(size), Tree(process.pid), about, process.stop)


def start_peer(
    peer: Peer, way: Way, dialect: Dialect, *, environments: Environments, model: Path, folder: Path
) -> Running:
    """A peer, once it has segmented a slice. Raises EnvironmentFailed or DidNotStart."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = _free_port(), folder / f"{peer.name}{'-numbers' * dialect.numbers}.log"
    said = {
        "PEER_MODEL": str(model / MODEL_FILE),
        "PEER_WINDOW": f"{WINDOW.lower} {WINDOW.upper}",
        "PEER_SIDE": str(SIDE),
        "PEER_PORT": str(port),
        "PEER_FOLDER": str(folder),
        "PEER_WORKERS": str(way.workers),
        "PEER_THREADS": str(way.threads),
        "PEER_BATCH": str(way.batch),
        "PEER_NUMBERS": "1" if dialect.numbers else "",
    }
    python = environments.python(peer.name)
    about = {"version": environments.version(peer.name, peer.name), "way": str(way)}
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(python), str(SCRIPTS / peer.script)],
            env={**_inherited(), **_SILENT, **said},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    tree = Tree(process.pid)
    running = Running(peer.title, f"http://127.0.0.1:{port}", dialect, tree, about, tree.end)
    try:
        _wait(running, process)
    except DidNotStart as error:
        running.end()
        raise DidNotStart(f"{peer.title} ({way}) {error}; its log ends: {log.read_text()[-2000:]}") from None
    return running


def _wait(running: Running, process: subprocess.Popen[bytes]) -> None:
    """Until a slice is answered. Raises DidNotStart."""
    deadline = time.monotonic() + _START_SECONDS
    sent = running.dialect.request(running.url, np.zeros((SIDE, SIDE), np.uint16))
    said: Exception | None = None
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DidNotStart(f"ended with status {process.returncode}")
        try:
            ask(running.url, sent)
        except (BadAnswer, OSError) as error:
            said = error
            time.sleep(0.2)
        else:
            return
    raise DidNotStart(f"did not answer within {_START_SECONDS:g} seconds, but: {said}")


def _inherited() -> dict[str, str]:
    """Our environment without what belongs to our own interpreter and server."""
    ours = ("RICEFISH_", "PYTHON", "VIRTUAL_ENV", "MLFLOW_", "BENTOML_", "MLSERVER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
