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
from serving.inference.runtime.grey import as_float32, as_network_input, cast_graph
from serving.inference.runtime.memory import out_of_memory_told
from serving.inference.runtime.segmentation_runtime import Engine
from serving.inference.runtime.session import (
    ANYHOW,
    CPU,
    Device,
    DoesNotFit,
    GpuOptions,
    cuda_devices,
    open_any,
    open_on_cpu,
    open_session,
)
from serving.inference.runtime.transfers import transfers_for

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
    def open(
        cls,
        path: Path,
        *,
        device: Device = "auto",
        threads: int = 0,
        lanes: int = 1,
        options: GpuOptions = ANYHOW,
    ) -> Runtime:
        """Loads a model. `threads` are those of one batch and `lanes` the batches at once, both on the CPU alone;
        `options` are those of GPUs.

        Raises RuntimeRefused if the file is not a model of the contract, and DoesNotFit if the device has no memory
        for it or `device` is "cuda" and it would run elsewhere; ONNX Runtime itself would fall back to the CPU with a
        mere warning. So does what `options` ask for where it is not there.
        """
        gpus = cuda_devices(device)
        if options.graphs != "off" and len(gpus) != 1:
            raise DoesNotFit(f"{path}: {options.graphs} needs one GPU, not {len(gpus)}, or RICEFISH_GPU_GRAPHS=off")
        if not gpus:
            return cls._open_on_cpu(path, device=device, threads=threads, lanes=lanes)
        places = [gpu for gpu in gpus for _ in range(1 if options.graphs == "cuda_graph" else _LANES_PER_GPU)]
        sessions = tuple(open_session(path, device=device, threads=threads, gpu=gpu, options=options) for gpu in places)
        provider = sessions[0].get_providers()[0]
        if provider == CPU:
            return cls(sessions[:1], provider, lanes, pixel_bytes(path))
        records = options.graphs == "cuda_graph"
        bound = tuple(
            bind(path, session, "cuda", gpu, records=records) for session, gpu in zip(sessions, places, strict=True)
        )
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

    @property
    def sent_bytes(self) -> int:
        """That batches brought to GPUs so far; 0 on the CPU, where nothing is copied."""
        return sum(bound.sent_bytes for bound in self._bound)

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, lane: int) -> NDArray[Any] | None:
        """Where a batch for that lane may be put together so that it is copied once; None: there is no such place."""
        return self._bound[lane].transfers.room(shape, dtype) if self._bound else None

    def segment(self, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        """Raw grey values (N, Y, X) of any real type -> class index of every pixel, uint8 (N, Y, X)."""
        return self.segment_rows(as_network_input(slices), window_rows(window, len(slices)), lane=0)

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int) -> NDArray[np.uint8]:
        """(N, Y, X) of a grey type and a window for each slice, float32 (N, 2) -> uint8 (N, Y, X).

        Calls with different lanes may run side by side. Raises OutOfDeviceMemory.
        """
        with out_of_memory_told(slices.shape, self.provider):
            segmentation: NDArray[np.uint8]
            if self._bound:
                (segmentation,) = self._bound[lane].run(slices, windows)
                return segmentation
            session = self._segmenting or self.sessions[0]
            (segmentation,) = session.run(["segmentation"], {"slices": as_float32(slices), "window": windows})
            return segmentation

    def segment_rows_with_confidence(
        self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Like `segment_rows`, with the winning class's probability, float32 (N, Y, X). Raises OutOfDeviceMemory."""
        outputs = ("segmentation", "confidence")
        with out_of_memory_told(slices.shape, self.provider):
            if self._bound:
                segmentation, confidence = self._bound[lane % len(self._bound)].run(slices, windows, outputs)
                return segmentation, confidence
            session = self.sessions[lane % len(self.sessions)]
            segmentation, confidence = session.run(outputs, {"slices": as_float32(slices), "window": windows})
            return segmentation, confidence


def bind(
    path: Path, session: onnxruntime.InferenceSession, device: str, number: int, *, records: bool = False
) -> BoundSession:
    """A session with buffers on its device; `device` is ONNX Runtime's name: on the CPU it works as on a GPU."""

    def casts(dtype: np.dtype[Any]) -> onnxruntime.InferenceSession:
        gpu = number if device == "cuda" else None
        return open_any(path, device="auto", threads=1, gpu=gpu, content=cast_graph(dtype))

    transfers = transfers_for(device, number)
    return BoundSession(session, device, number, casts=casts, transfers=transfers, records=records)


def window_rows(window: Window, slices: int) -> NDArray[np.float32]:
    """A volume's window once for each slice, float32 (N, 2)."""
    return np.tile(np.array([window.lower, window.upper], dtype=np.float32), (slices, 1))
