"""ONNX Runtime: the only file that imports it. A model file in, the class index of every pixel out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scans.intensity import Window
from scans.manifest import Golden
from serving import logs

Device = Literal["auto", "cuda", "cpu"]

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

GOLDEN_DISAGREEMENT = 0.001
"""Share of the golden slice's pixels that may differ: rounding differs from processor to processor, as at export."""

_INPUTS = {"slices": "tensor(float)", "window": "tensor(float)"}
_OUTPUTS = {"segmentation": "tensor(uint8)", "confidence": "tensor(float)"}


class RuntimeRefused(ValueError):  # noqa: N818 - says what happened
    """A model that cannot be run as asked; the message names the file and what would be right."""


@dataclass(frozen=True)
class Runtime:
    """One ONNX Runtime session of a segmentation model. Safe to call from several threads."""

    session: onnxruntime.InferenceSession
    provider: str
    """The execution provider that the model runs on."""

    @classmethod
    def open(cls, path: Path, *, device: Device = "auto", threads: int = 0) -> Runtime:
        """Loads a model onto the device.

        Raises RuntimeRefused if the file is not a model of the contract, or if `device` is "cuda" and it would run
        elsewhere; ONNX Runtime itself would fall back to the CPU with a mere warning.
        """
        session = _session(path, device=device, threads=threads)
        provider = session.get_providers()[0]
        if device == "cuda" and provider != CUDA:
            raise RuntimeRefused(
                f"{path}: device cuda was asked for, but ONNX Runtime offers {provider}; "
                f"a GPU, its driver and onnxruntime-gpu[cuda,cudnn] are needed, or RICEFISH_DEVICE=cpu"
            )
        _check_signature(path, session)
        return cls(session, provider)

    def segment(self, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        """Raw grey values (N, Y, X) of any real type -> class index of every pixel, uint8 (N, Y, X)."""
        segmentation: NDArray[np.uint8] = self._run(["segmentation"], slices, window)[0]
        return segmentation

    def segment_with_confidence(
        self, slices: NDArray[Any], window: Window
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Like `segment`, with the winning class's probability, float32 (N, Y, X): costs memory and time."""
        segmentation, confidence = self._run(["segmentation", "confidence"], slices, window)
        return segmentation, confidence

    def golden_disagreement(self, golden: Golden) -> float:
        """Share of the golden slice's pixels, 0..1, in which this session gives another class than expected."""
        answer = self.segment(golden.slice[np.newaxis], golden.window)[0]
        if answer.shape != golden.segmentation.shape:
            return 1.0
        return float(np.mean(answer != golden.segmentation))

    def _run(self, outputs: list[str], slices: NDArray[Any], window: Window) -> list[Any]:
        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        windows = np.tile(np.array([window.lower, window.upper], dtype=np.float32), (len(slices), 1))
        inputs = {"slices": np.ascontiguousarray(slices, dtype=np.float32), "window": windows}
        answers: list[Any] = self.session.run(outputs, inputs, options)
        return answers


def _session(path: Path, *, device: Device, threads: int) -> onnxruntime.InferenceSession:
    wanted: list[Any] = [CPU]
    if device != "cpu" and CUDA in onnxruntime.get_available_providers() and Path("/dev/nvidiactl").exists():
        onnxruntime.preload_dlls()
        wanted = [(CUDA, {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}), CPU]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path, sess_options=options, providers=wanted)
    except Exception as error:  # ONNX Runtime's own exceptions share no base but this one
        raise RuntimeRefused(f"{path} is not a model that ONNX Runtime can load: {error}") from error
    if device == "auto" and session.get_providers()[0] != CUDA:
        logs.event("model_on_cpu", level=logging.WARNING, path=path, reason="no usable GPU was found")
    return session


def _check_signature(path: Path, session: onnxruntime.InferenceSession) -> None:
    for what, nodes, contract in (
        ("inputs", session.get_inputs(), _INPUTS),
        ("outputs", session.get_outputs(), _OUTPUTS),
    ):
        found = {node.name: node.type for node in nodes}
        if found != contract:
            raise RuntimeRefused(f"{path} has the {what} {found}; a segmentation model has {contract}")
