"""Bound sessions: buffers on the device that are made once per shape, and copied into and out of for every batch."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_MOST_SHAPES = 4
"""Shapes whose buffers are kept; the one that was not used for longest goes first, and its memory with it."""

Shape = tuple[int, ...]


@dataclass
class BoundSession:
    """A session with its buffers; for one thread at a time."""

    session: onnxruntime.InferenceSession
    device: str
    """As ONNX Runtime names it: cuda, cpu."""
    number: int
    """Of the device."""
    _buffers: OrderedDict[Shape, _Buffers] = field(default_factory=OrderedDict)

    def segment(self, slices: NDArray[np.float32], windows: NDArray[np.float32]) -> NDArray[np.uint8]:
        """float32 (N, Y, X), float32 (N, 2) -> uint8 (N, Y, X)."""
        buffers = self._buffers.get(slices.shape) or self._make(slices.shape)
        self._buffers.move_to_end(slices.shape)
        buffers.slices.update_inplace(np.ascontiguousarray(slices))
        buffers.windows.update_inplace(np.ascontiguousarray(windows))
        self.session.run_with_iobinding(buffers.binding)
        segmentation: NDArray[np.uint8] = buffers.segmentation.numpy()
        return segmentation.copy() if self.device == "cpu" else segmentation

    def _make(self, shape: Shape) -> _Buffers:
        if len(self._buffers) >= _MOST_SHAPES:
            self._buffers.popitem(last=False)
        self._buffers[shape] = _Buffers.of(self.session, shape, self.device, self.number)
        return self._buffers[shape]


@dataclass(frozen=True)
class _Buffers:
    binding: onnxruntime.IOBinding
    slices: onnxruntime.OrtValue
    windows: onnxruntime.OrtValue
    segmentation: onnxruntime.OrtValue

    @classmethod
    def of(cls, session: onnxruntime.InferenceSession, shape: Shape, device: str, number: int) -> _Buffers:
        def empty(shape: Shape, dtype: type) -> onnxruntime.OrtValue:
            return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype, device, number)

        slices, windows = empty(shape, np.float32), empty((shape[0], 2), np.float32)
        segmentation, binding = empty(shape, np.uint8), session.io_binding()
        binding.bind_ortvalue_input("slices", slices)
        binding.bind_ortvalue_input("window", windows)
        binding.bind_ortvalue_output("segmentation", segmentation)
        return cls(binding, slices, windows, segmentation)
