"""Runtime: a segmentation model on its device; grey values in, the class index of every pixel out. By ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scans.intensity import Window
from serving.inference.runtime.binding import BoundSession
from serving.inference.runtime.footprint import pixel_bytes
from serving.inference.runtime.graph import leading_to
from serving.inference.runtime.memory import out_of_memory_told
from serving.inference.runtime.segmentation_runtime import Engine
from serving.inference.runtime.session import CPU, Device, cuda_devices, open_any, open_on_cpu, open_session

_LANES_PER_GPU = 2
"""One copies while the other computes."""


@dataclass(frozen=True)
class Runtime:
    """A segmentation model on its device, or on all GPUs. Safe to call from several threads."""

    sessions: tuple[onnxruntime.InferenceSession, ...]
    """Of all outputs. One on the CPU; several per GPU."""
    provider: str
    """The execution provider that the model runs on."""
    lanes: int
    """Batches that are best computed at once."""
    pixel_bytes: int | None = None
    """Of memory for each pixel that goes through it at once; None on a GPU, which says itself when it has no more."""
    _segmenting: onnxruntime.InferenceSession | None = None
    """Of the segmentation alone. On the CPU: it has the weights once more, and the memory of a GPU is dearer than the
    little that it would spare there."""
    _bound: tuple[BoundSession, ...] = ()
    """Buffers on the GPU, one set per session."""

    @classmethod
    def open(cls, path: Path, *, device: Device = "auto", threads: int = 0, lanes: int = 1) -> Runtime:
        """Loads a model. `threads` are those of one batch and `lanes` the batches at once, both on the CPU alone.

        Raises RuntimeRefused if the file is not a model of the contract, and DoesNotFit if the device has no memory
        for it or `device` is "cuda" and it would run elsewhere; ONNX Runtime itself would fall back to the CPU with a
        mere warning.
        """
        gpus = cuda_devices(device)
        if not gpus:
            return cls._open_on_cpu(path, device=device, threads=threads, lanes=lanes)
        places = [gpu for gpu in gpus for _ in range(_LANES_PER_GPU)]
        sessions = tuple(open_session(path, device=device, threads=threads, gpu=gpu) for gpu in places)
        provider = sessions[0].get_providers()[0]
        if provider == CPU:
            return cls(sessions[:1], provider, lanes, pixel_bytes(path))
        bound = tuple(BoundSession(session, "cuda", gpu) for session, gpu in zip(sessions, places, strict=True))
        return cls(sessions, provider, len(sessions), _bound=bound)

    @classmethod
    def open_alone(cls, path: Path, *, threads: int) -> Runtime:
        """A model on so many threads of the CPU, of the segmentation alone, beside one that was opened with `open`; it
        has the weights once more, and gives back the memory of each batch. Raises RuntimeRefused.
        """
        part = leading_to(["segmentation"], path)
        session = open_any(path, device="cpu", threads=threads, content=part, keeps_memory=False)
        return cls((session,), CPU, 1, None, session)

    @property
    def engine(self) -> Engine:
        """The library that computes it."""
        return "onnxruntime"

    @classmethod
    def _open_on_cpu(cls, path: Path, *, device: Device, threads: int, lanes: int) -> Runtime:
        segmenting, whole = open_on_cpu(path, device=device, threads=threads, often="segmentation")
        return cls((whole,), whole.get_providers()[0], lanes, pixel_bytes(path), segmenting)

    def segment(self, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        """Raw grey values (N, Y, X) of any real type -> class index of every pixel, uint8 (N, Y, X)."""
        return self.segment_rows(np.ascontiguousarray(slices, np.float32), window_rows(window, len(slices)), lane=0)

    def segment_rows(
        self, slices: NDArray[np.float32], windows: NDArray[np.float32], *, lane: int
    ) -> NDArray[np.uint8]:
        """float32 (N, Y, X) and a window for each slice, float32 (N, 2) -> uint8 (N, Y, X).

        Calls with different lanes may run side by side. Raises OutOfDeviceMemory.
        """
        with out_of_memory_told(slices.shape, self.provider):
            if self._bound:
                return self._bound[lane].segment(slices, windows)
            session = self._segmenting or self.sessions[0]
            segmentation: NDArray[np.uint8]
            (segmentation,) = session.run(["segmentation"], {"slices": slices, "window": windows})
            return segmentation

    def segment_rows_with_confidence(
        self, slices: NDArray[np.float32], windows: NDArray[np.float32], *, lane: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Like `segment_rows`, with the winning class's probability, float32 (N, Y, X). Raises OutOfDeviceMemory."""
        session = self.sessions[lane % len(self.sessions)]
        with out_of_memory_told(slices.shape, self.provider):
            segmentation, confidence = session.run(
                ["segmentation", "confidence"], {"slices": slices, "window": windows}
            )
            return segmentation, confidence


def window_rows(window: Window, slices: int) -> NDArray[np.float32]:
    """A volume's window once for each slice, float32 (N, 2)."""
    return np.tile(np.array([window.lower, window.upper], dtype=np.float32), (slices, 1))
