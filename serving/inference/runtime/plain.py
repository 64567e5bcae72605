"""Plain models: whatever inputs and outputs an ONNX graph has, run as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.inference.runtime.session import CPU, Device, RuntimeRefused, cuda_devices, open_any
from serving.observability.reasons import first_line

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(uint32)": np.dtype(np.uint32),
    "tensor(uint64)": np.dtype(np.uint64),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(string)": np.dtype(object),
}


_LARGE_BYTES = 16 << 20
"""Of inputs: what a model took for more is given back, not kept for the next request."""


class RunFailed(RuntimeError):
    """A model that could not be run on what it was given; the message is ONNX Runtime's."""


class RunEnded(RuntimeError):
    """A run that was ended from outside, before it had answered."""


class PlainRun:
    """One run of a model, which any thread may end; it stops before the next operation of the graph."""

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()

    @property
    def ended(self) -> bool:
        """Whether it was told to stop."""
        return bool(self.options.terminate)

    def end(self) -> None:
        """Has it stop."""
        self.options.terminate = True


@dataclass(frozen=True)
class Node:
    """An input or an output of a graph."""

    name: str
    dtype: np.dtype[Any]
    """object: strings."""
    shape: tuple[int, ...]
    """-1: any."""
    symbols: tuple[str | None, ...]
    """Name of each side that is any, where the graph gives it one: sides of one name are equally long."""


@dataclass(frozen=True)
class PlainRuntime:
    """A model on its device. Safe to call from several threads."""

    session: onnxruntime.InferenceSession
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]

    @classmethod
    def open(cls, path: Path, *, device: Device = "auto", threads: int = 0) -> PlainRuntime:
        """Loads a model, onto the first GPU if there is one to use.

        Raises RuntimeRefused where it cannot be, or where an input or output is no tensor of one of NumPy's types.
        """
        gpus = cuda_devices(device)
        session = open_any(path, device=device, threads=threads, gpu=gpus[0] if gpus else None)
        inputs = tuple(_node(path, node) for node in session.get_inputs())
        return cls(session, inputs, tuple(_node(path, node) for node in session.get_outputs()))

    @property
    def on_gpu(self) -> bool:
        """Whether it runs there."""
        return bool(self.session.get_providers()[0] != CPU)

    def run(
        self, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]], *, run: PlainRun | None = None
    ) -> list[NDArray[Any]]:
        """The outputs of these names, by a run that can be ended. Raises RunFailed, RunEnded."""
        run = run or PlainRun()
        if not self.on_gpu and sum(array.nbytes for array in inputs.values()) > _LARGE_BYTES:
            run.options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            answers: list[NDArray[Any]] = self.session.run(list(outputs), dict(inputs), run.options)
        except Exception as error:  # ONNX Runtime's own exceptions share no base but this one
            if run.ended:
                raise RunEnded("the run was ended") from error
            raise RunFailed(f"onnx runtime error: {first_line(error)}") from error
        return answers


def _node(path: Path, node: Any) -> Node:
    if node.type not in _DTYPES:
        raise RuntimeRefused(f"{path}: {node.name} is a {node.type}; those that can be served are {', '.join(_DTYPES)}")
    shape = tuple(side if isinstance(side, int) and side >= 0 else -1 for side in node.shape)
    symbols = tuple(side if isinstance(side, str) else None for side in node.shape)
    return Node(node.name, _DTYPES[node.type], shape, symbols)
