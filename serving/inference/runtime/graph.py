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
    needed = _needed(graph.node, outputs)
    if len(needed) == len(graph.node):
        return None
    _keep(graph.node, needed)
    _keep(graph.output, [output for output in graph.output if output.name in outputs])
    content: bytes = model.SerializeToString()
    return content


def _needed(nodes: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
    """In their order, which says nothing: those that a conversion to float16 adds come after those that use them."""
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    wanted, found = list(outputs), set[int]()
    while wanted:
        number = makers.get(wanted.pop())
        if number is not None and number not in found:
            found.add(number)
            wanted.extend(nodes[number].input)
    return [nodes[number] for number in sorted(found)]


def _keep(field: Any, kept: list[Any]) -> None:
    del field[:]
    field.extend(kept)
