"""Graphs: a model file cut down to what leads to the outputs that are wanted.

ONNX Runtime computes every output of a graph, those too that nobody fetches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def leading_to(outputs: Sequence[str], path: Path) -> bytes | None:
    """The model with these outputs alone, the inputs as they are; None where that would spare nothing, or where the
    graph holds graphs of its own (branches, loops), which may use any of its values.

    `path` is that of a model that has been loaded before, with these outputs.
    """
    import onnx  # noqa: PLC0415  who serves no model yet starts without it

    model = onnx.load(path)
    graph = model.graph
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if any(attribute.type in graphs for node in graph.node for attribute in node.attribute):
        return None
    used: set[str] = set(outputs)
    needed: list[Any] = []
    for node in reversed(graph.node):  # each comes after those whose outputs it uses
        if not used.isdisjoint(node.output):
            needed.append(node)
            used.update(node.input)
    if len(needed) == len(graph.node):
        return None
    _keep(graph.node, needed[::-1])
    _keep(graph.output, [output for output in graph.output if output.name in outputs])
    content: bytes = model.SerializeToString()
    return content


def _keep(field: Any, kept: list[Any]) -> None:
    del field[:]
    field.extend(kept)
