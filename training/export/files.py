"""Writes networks to model.onnx: one file, the same bytes for the same weights."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import torch
from torch.export import Dim

from training.export.graph import QualityModel, SegmentationModel

OPSET = 20
SIZE = 64
"""Side of the slices that a network is traced with; it then takes any."""
_TALKATIVE = ("onnxscript", "onnx_ir")
"""Loggers that tell each step of simplifying a graph as information."""


def write_onnx(path: Path, model: SegmentationModel | QualityModel) -> None:
    """Writes one file that holds graph and weights, with batch, height and width dynamic.

    The same weights give the same bytes: what tracing notes about this machine's source files is dropped.
    Raises onnx.checker.ValidationError where the exporter made something that is not valid.
    """
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    slices, window = torch.rand(2, SIZE, SIZE), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    quality, outputs = isinstance(model, QualityModel), ["segmentation", "confidence"]
    if isinstance(model, QualityModel):
        outputs = ["good", "dice"] if model.expects_dice else ["good"]
    arguments = (slices, window, torch.zeros(2, SIZE, SIZE, dtype=torch.uint8)) if quality else (slices, window)
    named, free = {0: "batch", 1: "height", 2: "width"}, Dim.DYNAMIC
    program = torch.onnx.export(
        model.eval(),
        arguments,
        dynamo=True,
        opset_version=OPSET,
        input_names=["slices", "window", "segmentation"][: len(arguments)],
        output_names=outputs,
        dynamic_shapes=(named, {0: free}, {0: free, 1: free, 2: free})[: len(arguments)],
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    exported = program.model_proto
    _forget_sources(exported)
    onnx.checker.check_model(exported, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(exported.SerializeToString(deterministic=True))


def _forget_sources(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for part in (*graph.node, *graph.value_info, *getattr(graph, "initializer", ())):
            del part.metadata_props[:]
            part.doc_string = ""
