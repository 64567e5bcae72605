"""Segmentation runtime: what a segmentation model that was loaded gives, whichever library computes it."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window
from scans.precision import Precision

Engine = Literal["onnxruntime", "openvino"]
"""Library that computes a model."""

Served = Precision | Literal["float32"]
"""Precision that a model is run in."""


class SegmentationRuntime(Protocol):
    """A segmentation model on its device. Safe to call from several threads."""

    @property
    def engine(self) -> Engine:
        """The library that computes it."""
        ...

    @property
    def provider(self) -> str:
        """Where it runs, as ONNX Runtime names it."""
        ...

    @property
    def lanes(self) -> int:
        """Batches that are best computed at once."""
        ...

    @property
    def pixel_bytes(self) -> int | None:
        """Of memory for each pixel that goes through it at once; None where the device itself says that it has no
        more."""
        ...

    def segment(self, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        """Raw grey values (N, Y, X) of any real type -> class index of every pixel, uint8 (N, Y, X)."""
        ...

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int) -> NDArray[np.uint8]:
        """(N, Y, X) of a grey type and a window for each slice, float32 (N, 2) -> uint8 (N, Y, X).

        Calls with different lanes may run side by side. Raises OutOfDeviceMemory.
        """
        ...

    def segment_rows_with_confidence(
        self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Like `segment_rows`, with the winning class's probability, float32 (N, Y, X). Raises OutOfDeviceMemory."""
        ...
