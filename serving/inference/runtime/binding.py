"""Bound sessions: buffers on the device that are made once per shape, and copied into and out of for every batch."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.inference.runtime.grey import FLOAT32
from serving.inference.runtime.transfers import OrdinaryTransfers, Transfers

_MOST_SHAPES = 4
"""Shapes and types whose buffers are kept; what was not used for longest goes first, and its memory with it."""
_OUTPUTS: Mapping[str, np.dtype[Any]] = {"segmentation": np.dtype(np.uint8), "confidence": FLOAT32}
_GRAPH_ID, _NO_GRAPH = "gpu_graph_id", "-1"
_numbers = itertools.count(1)
"""Of recorded graphs: none is ever used again, as the buffers that a graph was recorded with are gone with it."""

Key = tuple[tuple[int, ...], np.dtype[Any], tuple[str, ...]]
Casts = Callable[[np.dtype[Any]], onnxruntime.InferenceSession]
"""Opens a session, on the same device, that makes float32 of slices of a type."""


@dataclass
class BoundSession:
    """A session with its buffers; for one thread at a time."""

    session: onnxruntime.InferenceSession
    device: str
    """As ONNX Runtime names it: cuda, cpu."""
    number: int
    """Of the device."""
    casts: Casts | None = None
    """None: it is given float32 alone."""
    transfers: Transfers = field(default_factory=OrdinaryTransfers)
    records: bool = False
    """Whether the session records what a GPU does for a shape, and has it done again as one: a CUDA graph."""
    sent_bytes: int = 0
    """To the device so far, windows included."""
    _casts: dict[np.dtype[Any], onnxruntime.InferenceSession] = field(default_factory=dict)
    _buffers: OrderedDict[Key, _Buffers] = field(default_factory=OrderedDict)

    def run(
        self, slices: NDArray[Any], windows: NDArray[np.float32], outputs: Sequence[str] = ("segmentation",)
    ) -> list[NDArray[Any]]:
        """(N, Y, X) of a grey type, float32 (N, 2) -> the outputs of these names, each (N, Y, X)."""
        key = (slices.shape, slices.dtype, tuple(outputs))
        buffers = self._buffers.get(key) or self._make(key)
        self._buffers.move_to_end(key)
        self.transfers.send(slices, buffers.grey)
        self.transfers.send(windows, buffers.windows)
        self.sent_bytes += slices.nbytes + windows.nbytes
        if buffers.cast is not None:
            self._casts[slices.dtype].run_with_iobinding(buffers.cast)
        self.session.run_with_iobinding(buffers.binding, buffers.options)
        return [self.transfers.fetch(value, _OUTPUTS[name]) for name, value in buffers.outputs.items()]

    def _make(self, key: Key) -> _Buffers:
        """Raises what ONNX Runtime raises where the device has no memory for them."""
        dtype = key[1]
        if len(self._buffers) >= _MOST_SHAPES:
            self._buffers.popitem(last=False)
        if dtype != FLOAT32 and dtype not in self._casts:
            if self.casts is None:
                raise TypeError(f"slices of {dtype}; they are taken in {FLOAT32}")
            self._casts[dtype] = self.casts(dtype)
        self._buffers[key] = self._buffers_of(key)
        return self._buffers[key]

    def _buffers_of(self, key: Key) -> _Buffers:
        shape, dtype, names = key

        def empty(shape: Sequence[int], dtype: np.dtype[Any]) -> onnxruntime.OrtValue:
            return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype.type, self.device, self.number)

        slices, windows, binding = empty(shape, FLOAT32), empty((shape[0], 2), FLOAT32), self.session.io_binding()
        outputs = {name: empty(shape, _OUTPUTS[name]) for name in names}
        binding.bind_ortvalue_input("slices", slices)
        binding.bind_ortvalue_input("window", windows)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        grey, cast = slices, None
        if dtype != FLOAT32:
            grey, cast = empty(shape, dtype), self._casts[dtype].io_binding()
            cast.bind_ortvalue_input("grey", grey)
            cast.bind_ortvalue_output("slices", slices)
        return _Buffers(grey, windows, outputs, binding, cast, self._options(names))

    def _options(self, names: Sequence[str]) -> onnxruntime.RunOptions:
        options = onnxruntime.RunOptions()
        if self.records:
            graph = str(next(_numbers)) if names == ("segmentation",) else _NO_GRAPH
            options.add_run_config_entry(_GRAPH_ID, graph)
        return options


@dataclass(frozen=True)
class _Buffers:
    """On the device, and what runs on them."""

    grey: onnxruntime.OrtValue
    """As the slices come; the model's own input where they are float32."""
    windows: onnxruntime.OrtValue
    outputs: dict[str, onnxruntime.OrtValue]
    binding: onnxruntime.IOBinding
    cast: onnxruntime.IOBinding | None
    """Of the session that makes float32 of `grey`."""
    options: onnxruntime.RunOptions
