"""Writes the exported networks to model.onnx, and runs such files the way a server does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from scans.intensity import Window
from training.onnx_models import QualityModel, SegmentationModel

OPSET = 20
SIZE = 64
"""Side of the slices that a network is traced with; it then takes any."""


def write_onnx(path: Path, model: SegmentationModel | QualityModel) -> None:
    """Writes one file that holds graph and weights, with batch, height and width dynamic.

    The same weights give the same bytes: what tracing notes about this machine's source files is dropped.
    Raises onnx.checker.ValidationError where the exporter made something that is not valid.
    """
    slices, window = torch.rand(2, SIZE, SIZE), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    quality = isinstance(model, QualityModel)
    arguments = (slices, window, torch.zeros(2, SIZE, SIZE, dtype=torch.uint8)) if quality else (slices, window)
    image = {0: "batch", 1: "height", 2: "width"}
    program = torch.onnx.export(
        model.eval(),
        arguments,
        dynamo=True,
        opset_version=OPSET,
        input_names=["slices", "window", "segmentation"][: len(arguments)],
        output_names=["good"] if quality else ["segmentation", "confidence"],
        dynamic_shapes=(image, {0: "batch"}, image)[: len(arguments)],
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


class OnnxModel:
    """A model.onnx, run on the CPU, where it gives the same numbers each time."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def segment(self, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        """Raw (N, Y, X) slices of a volume with that window -> uint8 (N, Y, X) class indices."""
        feed = {"slices": slices.astype(np.float32), "window": _windows(window, len(slices))}
        return np.asarray(self._run("segmentation", feed), dtype=np.uint8)

    def confidence(self, slices: NDArray[Any], window: Window) -> NDArray[np.float32]:
        """Raw (N, Y, X) slices of a volume with that window -> float32 (N, Y, X) winning probability."""
        feed = {"slices": slices.astype(np.float32), "window": _windows(window, len(slices))}
        return np.asarray(self._run("confidence", feed), dtype=np.float32)

    def good(self, slices: NDArray[Any], segmentation: NDArray[np.uint8], window: Window) -> NDArray[np.float32]:
        """Raw (N, Y, X) slices and uint8 (N, Y, X) class indices -> float32 (N,) probability of good."""
        feed = {"slices": slices.astype(np.float32), "window": _windows(window, len(slices))}
        return np.asarray(self._run("good", {**feed, "segmentation": segmentation}), dtype=np.float32)

    def _run(self, output: str, feed: dict[str, NDArray[Any]]) -> NDArray[Any]:
        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        answer: Sequence[NDArray[Any]] = self._session.run([output], feed, options)
        return answer[0]


def _windows(window: Window, count: int) -> NDArray[np.float32]:
    return np.tile(np.array([window.lower, window.upper], dtype=np.float32), (count, 1))
