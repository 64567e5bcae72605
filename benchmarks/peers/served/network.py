"""The ONNX file as every peer runs it, and what the benchmark says in PEER_ variables about how it is to be served."""

from __future__ import annotations

import os
import socket
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

PORT = int(os.environ["PEER_PORT"])
WORKERS = int(os.environ["PEER_WORKERS"])
"""Processes that run the network."""
BATCH = int(os.environ["PEER_BATCH"])
"""Slices of several requests that are merged at most; 1: none are."""
NUMBERS = bool(os.environ["PEER_NUMBERS"])
"""Pixels are numbers in JSON, both ways; else they come in the densest encoding that there is."""
BATCH_SECONDS = 0.002
"""That is waited for others to fill a batch, by those that wait: a small part of the time that an answer takes."""


class Network:
    """A session on the threads that are asked for. Safe to call from several threads."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["PEER_THREADS"])
        options.inter_op_num_threads = 1
        # threads that spin while they have nothing to do take the cores from whoever reads the next request
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = os.environ["PEER_MODEL"]
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._window = np.array([os.environ["PEER_WINDOW"].split()], np.float32)
        self._side = int(os.environ["PEER_SIDE"])

    def read(self, content: bytes) -> NDArray[np.uint16]:
        """Raw little-endian uint16 -> slices (N, Y, X)."""
        return np.frombuffer(content, "<u2").reshape(-1, self._side, self._side)

    def segment(self, slices: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Grey values (N, Y, X) -> class index of every pixel, uint8 (N, Y, X)."""
        windows = np.repeat(self._window, len(slices), axis=0)
        inputs = {"slices": slices.astype(np.float32), "window": windows}
        segmentation: NDArray[np.uint8] = self._session.run(["segmentation"], inputs)[0]
        return segmentation


def free_port() -> int:
    """A port on the loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
