"""Plain models for the tests, built by hand."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

SIMPLE_CONFIG = """
name: "simple"
platform: "onnxruntime_onnx"
max_batch_size: 8  # as in Triton's own examples
input [
  { name: "INPUT0", data_type: TYPE_INT32, dims: [ 16 ] },
  { name: "INPUT1", data_type: TYPE_INT32, dims: [ 16 ] }
]
output { name: "OUTPUT0" data_type: TYPE_INT32 dims: 16 }
output { name: "OUTPUT1" data_type: TYPE_INT32 dims: 16 }
instance_group { count: 2; kind: KIND_CPU }
"""


def add_sub(*, batch: int | str = "batch", minus: str = "Sub") -> onnx.ModelProto:
    """OUTPUT0 is INPUT0 + INPUT1, OUTPUT1 is INPUT0 - INPUT1: INT32 (batch, 16); `minus`: another operator."""
    shape = [batch, 16]
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node(minus, ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    inputs = [helper.make_tensor_value_info(f"INPUT{n}", TensorProto.INT32, shape) for n in (0, 1)]
    outputs = [helper.make_tensor_value_info(f"OUTPUT{n}", TensorProto.INT32, shape) for n in (0, 1)]
    return _model(nodes, inputs, outputs)


def identity(element: int) -> onnx.ModelProto:
    """OUTPUT is INPUT, a vector of any length."""
    info = [helper.make_tensor_value_info(name, element, [None]) for name in ("INPUT", "OUTPUT")]
    return _model([helper.make_node("Identity", ["INPUT"], ["OUTPUT"])], info[:1], info[1:])


def endless() -> onnx.ModelProto:
    """OUTPUT would be INPUT, (batch, 1), after more rounds of a loop than there is time for."""
    flag = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Identity", ["before"], ["after"])],
        "round",
        [
            flag("number", TensorProto.INT64, []),
            flag("on", TensorProto.BOOL, []),
            flag("before", TensorProto.FLOAT, ["batch", 1]),
        ],
        [flag("still", TensorProto.BOOL, []), flag("after", TensorProto.FLOAT, ["batch", 1])],
    )
    rounds = helper.make_tensor("rounds", TensorProto.INT64, [], [2**62])
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    nodes = [
        helper.make_node("Constant", [], ["most"], value=rounds),
        helper.make_node("Constant", [], ["begin"], value=always),
        helper.make_node("Loop", ["most", "begin", "INPUT"], ["OUTPUT"], body=body),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1]) for name in ("INPUT", "OUTPUT")]
    return _model(nodes, info[:1], info[1:])


def place(model: onnx.ModelProto, folder: Path, *, version: str | None = "1", config: str | None = None) -> Path:
    """Into a repository: FOLDER/VERSION/model.onnx, or FOLDER/model.onnx."""
    within = folder if version is None else folder / version
    within.mkdir(parents=True, exist_ok=True)
    onnx.save(model, within / "model.onnx")
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    return folder


def _model(nodes: list[onnx.NodeProto], inputs: list, outputs: list) -> onnx.ModelProto:  # type: ignore[type-arg]
    graph = helper.make_graph(nodes, "plain", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
