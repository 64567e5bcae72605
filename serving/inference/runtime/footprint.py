"""Footprint: how much memory a segmentation model takes for each pixel that goes through it, known before it is run.

From its graph as ONNX Runtime optimises it for one shape: the most that lies between its operations at any moment. What
is taken in fact is up to four times as much, as memory is taken in powers of two, and convolutions copy their input.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime

_SIDE = 512
"""Of the slice that it is worked out for."""
_TAKEN = 4
"""Bytes that are taken for each that lies between operations at most: 3.6 were measured, for a U-Net."""
UNKNOWN_BYTES = 1000
"""Of a graph whose sizes are not all known beforehand."""


def pixel_bytes(path: Path) -> int:
    """Bytes for each pixel of what a model of the contract computes; the model has been loaded before."""
    import onnx  # noqa: PLC0415  who serves no model yet starts without it

    shapes = {"slices": (1, _SIDE, _SIDE), "window": (1, 2)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for node in onnx.load(path, load_external_data=False).graph.input:
        for side, size in zip(node.type.tensor_type.shape.dim, shapes.get(node.name, ()), strict=False):
            if side.dim_param:
                options.add_free_dimension_override_by_name(side.dim_param, size)
    with tempfile.TemporaryDirectory(prefix="ricefish-") as folder:
        optimised = Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(optimised)
        try:
            onnxruntime.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])
            peak = _peak_bytes(onnx.load(optimised, load_external_data=False).graph)
        except Exception:  # ONNX Runtime's own exceptions share no base but this one; the model is loaded all the same
            return UNKNOWN_BYTES
    return UNKNOWN_BYTES if peak is None else max(1, math.ceil(_TAKEN * peak / _SIDE**2))


def _peak_bytes(graph: Any) -> int | None:
    """The most that lies between operations; None where the larger part of them has no known size."""
    sizes = {value.name: size for value in (*graph.value_info, *graph.input, *graph.output) if (size := _bytes(value))}
    last = {name: number for number, node in enumerate(graph.node) for name in node.input}
    present = sum(sizes.get(value.name, 0) for value in graph.input)
    peak, unknown = present, 0
    for number, node in enumerate(graph.node):
        present += sum(sizes.get(name, 0) for name in node.output)
        unknown += not any(name in sizes for name in node.output)
        peak = max(peak, present)
        present -= sum(sizes.get(name, 0) for name in set(node.input) if last[name] == number)
    return peak if 2 * unknown < len(graph.node) else None


def _bytes(value: Any) -> int:
    """Of a tensor; 0 where a side is not known."""
    import onnx  # noqa: PLC0415  as above

    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(side.HasField("dim_value") for side in tensor.shape.dim):
        return 0
    itemsize = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize)
    return math.prod(int(side.dim_value) for side in tensor.shape.dim) * itemsize
