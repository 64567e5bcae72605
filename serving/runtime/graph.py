"""Graphs: a model file cut down to what leads to the outputs that are wanted.

ONNX Runtime computes every output of a graph, those too that nobody fetches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx.utils import Extractor


def leading_to(outputs: Sequence[str], path: Path) -> bytes | None:
    """The model with these outputs alone, the inputs as they are; None where that would spare nothing, or where the
    graph holds graphs of its own (branches, loops), which may use any of its values.

    `path` is that of a model that has been loaded before, with these outputs.
    """
    model = onnx.load(path)
    if any(attribute.type in _GRAPHS for node in model.graph.node for attribute in node.attribute):
        return None
    part = Extractor(model).extract_model([node.name for node in model.graph.input], list(outputs))
    return part.SerializeToString() if len(part.graph.node) < len(model.graph.node) else None


_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
