"""Grey types: those of scans that cross queue and bus as they are, and are made float32 where they are computed.

A model of the contract takes float32. Its file is left as it is: in front of it on a GPU runs a graph of one node,
Cast, which has no weights, so that each type costs a buffer and not the model once more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

FLOAT32 = np.dtype(np.float32)
GREY_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.int16), FLOAT32)
"""Each of whose values float32 holds exactly."""
_OPSET, _IR = 18, 9
"""As old as any ONNX Runtime that is supported reads."""


def grey_type(dtype: DTypeLike) -> np.dtype[Any]:
    """The type in which slices of this type reach a network: itself where it is a grey type, else float32."""
    found = np.dtype(dtype)
    return found if found in GREY_TYPES else FLOAT32


def as_network_input(slices: NDArray[Any]) -> NDArray[Any]:
    """Slices (N, Y, X) of any real type as a network takes them; the same array where it is so already."""
    return np.ascontiguousarray(slices, grey_type(slices.dtype))


def as_float32(slices: NDArray[Any]) -> NDArray[np.float32]:
    """Slices (N, Y, X) as the graph of a model takes them; the same array where it is so already."""
    return np.ascontiguousarray(slices, np.float32)


def cast_graph(dtype: np.dtype[Any]) -> bytes:
    """An ONNX model that makes `slices`, float32 (N, Y, X), of `grey`, which is of that type."""
    from onnx import TensorProto, helper  # noqa: PLC0415  who serves no model yet starts without it

    sides = ["n", "y", "x"]
    grey = helper.make_tensor_value_info("grey", helper.np_dtype_to_tensor_dtype(dtype), sides)
    slices = helper.make_tensor_value_info("slices", TensorProto.FLOAT, sides)
    node = helper.make_node("Cast", ["grey"], ["slices"], to=TensorProto.FLOAT)
    graph = helper.make_graph([node], "cast", [grey], [slices])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    content: bytes = model.SerializeToString()
    return content
