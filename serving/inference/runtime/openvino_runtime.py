"""OpenVINO runtime: a segmentation model on the processor, of int8 often the fastest; the same surface as `Runtime`.

Numbers are float32 wherever the graph says so: left to itself, OpenVINO takes bfloat16 where the processor has it, of
which nobody has checked how accurate it is. It reads the ONNX file itself, with any batch and sides, and keeps nothing
on the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window
from serving.inference.runtime.footprint import pixel_bytes
from serving.inference.runtime.grey import as_float32, as_network_input
from serving.inference.runtime.memory import is_out_of_memory, out_of_memory_told
from serving.inference.runtime.openvino_library import openvino
from serving.inference.runtime.processors import processors
from serving.inference.runtime.segmentation import window_rows
from serving.inference.runtime.segmentation_runtime import Engine
from serving.inference.runtime.session import CPU, DoesNotFit, RuntimeRefused

SEGMENTATION, CONFIDENCE = "segmentation", "confidence"
_INPUTS: Mapping[str, str] = {"slices": "f32", "window": "f32"}
_OUTPUTS: Mapping[str, str] = {SEGMENTATION: "u8", CONFIDENCE: "f32"}


@dataclass(frozen=True)
class OpenVinoRuntime:
    """A segmentation model on the processor. Safe to call from several threads."""

    lanes: int
    """Batches that are best computed at once: each has a stream with cores of its own."""
    pixel_bytes: int
    """Of memory for each pixel that goes through it at once: what ONNX Runtime takes, which is more. 150 were measured
    for a U-Net in int8 and 560 in float32, where ONNX Runtime's are 1000."""
    _segmenting: tuple[_Stream, ...]
    """Of the segmentation alone, one for each lane."""
    _whole: _Whole

    @classmethod
    def open(cls, path: Path, *, threads: int = 0, lanes: int = 1, keeps_memory: bool = True) -> OpenVinoRuntime:
        """Loads a model; `threads` are those of one batch, 0 all, and `lanes` the batches at once. It keeps the memory
        that a batch was computed in for the next one, unless `keeps_memory` is false.

        Raises RuntimeRefused where OpenVINO is not installed or cannot load it, or it is no model of the contract, and
        DoesNotFit where the machine has no memory for it.
        """
        try:
            core = openvino().Core()
            model = core.read_model(path)
            _check_signature(path, model)
            part = model.clone()
            for result in part.get_results():
                if SEGMENTATION not in result.input(0).get_source_output().get_names():
                    part.remove_result(result)
            compiled = core.compile_model(part, "CPU", _settings(threads, lanes))
            streams = tuple(_Stream.of(compiled, keeps_memory=keeps_memory) for _ in range(lanes))
        except ImportError as error:
            raise RuntimeRefused(f"OpenVINO cannot be used: {error}") from error
        except RuntimeError as error:  # all that OpenVINO raises
            if is_out_of_memory(error):
                raise DoesNotFit(f"{path} needs more memory than the machine has left: {error}") from error
            raise RuntimeRefused(f"{path} is not a model that OpenVINO can load: {error}") from error
        return cls(lanes, pixel_bytes(path), streams, _Whole(core, model, threads * lanes))

    @property
    def engine(self) -> Engine:
        """The library that computes it."""
        return "openvino"

    @property
    def provider(self) -> str:
        """Where it runs, as ONNX Runtime names it."""
        return CPU

    def segment(self, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        """Raw grey values (N, Y, X) of any real type -> class index of every pixel, uint8 (N, Y, X)."""
        return self.segment_rows(as_network_input(slices), window_rows(window, len(slices)), lane=0)

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int) -> NDArray[np.uint8]:
        """(N, Y, X) of a grey type and a window for each slice, float32 (N, 2) -> uint8 (N, Y, X).

        Calls with different lanes may run side by side. Raises OutOfDeviceMemory.
        """
        with out_of_memory_told(slices.shape, self.provider):
            segmentation: NDArray[np.uint8] = self._segmenting[lane].run(slices, windows)[SEGMENTATION]
            return segmentation

    def segment_rows_with_confidence(
        self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Like `segment_rows`, with the winning class's probability, float32 (N, Y, X); one batch after the other,
        whatever the lane, each on the threads of all. Raises OutOfDeviceMemory."""
        with out_of_memory_told(slices.shape, self.provider):
            outputs = self._whole.run(slices, windows)
            return outputs[SEGMENTATION], outputs[CONFIDENCE]


@dataclass(frozen=True)
class _Stream:
    """One request of a compiled model, which computes one batch at a time."""

    request: Any
    let_go: Callable[[], None]
    """Is called after each batch, and may give back the memory that it was computed in."""
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, compiled: Any, *, keeps_memory: bool) -> _Stream:
        """A new one; the memory is that of all streams of a compiled model."""
        return cls(compiled.create_infer_request(), (lambda: None) if keeps_memory else compiled.release_memory)

    def run(self, slices: NDArray[Any], windows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """The outputs by name."""
        with self._turn:
            try:
                answer = self.request.infer({"slices": as_float32(slices), "window": windows}, share_inputs=True)
                return {name: array for output, array in answer.items() for name in output.names}
            finally:
                self.let_go()


class _Whole:
    """The model with all outputs, compiled when a confidence is first asked for: few ask, and it has the weights once
    more. What it computed in is given back after each batch."""

    def __init__(self, core: Any, model: Any, threads: int) -> None:
        self._core = core
        self._model = model
        self._threads = threads
        self._turn = threading.Lock()
        self._stream: _Stream | None = None

    def run(self, slices: NDArray[Any], windows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """The outputs by name."""
        with self._turn:
            if self._stream is None:
                compiled = self._core.compile_model(self._model, "CPU", _settings(self._threads, 1))
                self._stream = _Stream.of(compiled, keeps_memory=False)
            return self._stream.run(slices, windows)


def _settings(threads: int, lanes: int) -> dict[str, Any]:
    """Threads are not bound to cores: those of other models and lanes would be bound to the same ones."""
    return {
        "NUM_STREAMS": lanes,
        "INFERENCE_NUM_THREADS": threads * lanes or processors(),
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }


def _check_signature(path: Path, model: Any) -> None:
    for what, nodes, contract in (("inputs", model.inputs, _INPUTS), ("outputs", model.outputs, _OUTPUTS)):
        found = {node.get_any_name(): node.get_element_type().to_string() for node in nodes}
        if found != contract:
            raise RuntimeRefused(f"{path} has the {what} {found}; a segmentation model has {dict(contract)}")
