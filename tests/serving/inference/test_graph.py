"""Graphs: what leads to the segmentation alone is run where nobody asks for more, and says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from scans.intensity import Window
from scans.model.manifest import MODEL_FILE
from serving.inference.runtime.graph import leading_to
from serving.inference.runtime.segmentation import Runtime
from tests.serving.models import threshold_model, write_model


def test_what_nobody_asks_for_is_left_out(tmp_path: Path) -> None:
    """The confidence and the node that makes it; inputs, weights and the segmentation stay."""
    part = leading_to(["segmentation"], write_model(tmp_path) / MODEL_FILE)
    assert part is not None
    graph, whole = onnx.load_from_string(part).graph, threshold_model(rounds=0, thresholds=(0.4, 0.7)).graph
    assert [node.name for node in graph.output] == ["segmentation"]
    assert [node.name for node in graph.input] == ["slices", "window"]
    assert {node.op_type for node in whole.node} - {node.op_type for node in graph.node} == {"Sigmoid"}


def test_with_and_without_confidence_the_segmentation_is_the_same(tmp_path: Path) -> None:
    """Pixel by pixel, and the confidence is there for who asks for it."""
    runtime = Runtime.open(write_model(tmp_path, rounds=1) / MODEL_FILE, device="cpu", threads=1)
    slices = np.random.default_rng(3).uniform(-20, 120, (3, 40, 48)).astype(np.float32)
    windows = np.tile(np.array([0, 100], np.float32), (3, 1))
    segmentation, confidence = runtime.segment_rows_with_confidence(slices, windows, lane=0)
    np.testing.assert_array_equal(runtime.segment_rows(slices, windows, lane=0), segmentation)
    assert set(np.unique(segmentation)) == {0, 1, 2}
    np.testing.assert_allclose(confidence, 1 / (1 + np.exp(-slices / 100)), rtol=1e-5)


def test_the_order_of_nodes_says_nothing(tmp_path: Path) -> None:
    """Those that a conversion to float16 adds come after those that use them; the model is served on the CPU too."""
    folder = write_model(tmp_path, rounds=1)
    path = tmp_path / "float16.onnx"
    onnx.save(convert_float_to_float16(onnx.load(folder / MODEL_FILE), keep_io_types=True), path)
    window, slices = Window(0, 100), np.arange(1, 97, 4, dtype=np.uint8).reshape(1, 4, 6)
    runtime = Runtime.open(path, device="cpu", threads=1)
    whole = Runtime.open(folder / MODEL_FILE, device="cpu", threads=1)
    np.testing.assert_array_equal(runtime.segment(slices, window), whole.segment(slices, window))


def test_a_graph_with_branches_is_left_whole(tmp_path: Path) -> None:
    """A branch may use any value of the graph around it, which no list of a node's inputs says."""
    model = threshold_model(rounds=0, thresholds=(0.4, 0.7))
    branch = helper.make_graph(
        [helper.make_node("Identity", ["segmentation"], ["same"])],
        "branch",
        [],
        [helper.make_tensor_value_info("same", TensorProto.UINT8, None)],
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.append(helper.make_node("If", ["always"], ["either"], then_branch=branch, else_branch=branch))
    onnx.save(model, tmp_path / MODEL_FILE)
    assert leading_to(["segmentation"], tmp_path / MODEL_FILE) is None


def test_where_there_is_nothing_to_leave_out_the_model_is_opened_once(tmp_path: Path) -> None:
    """Both outputs need every node here."""
    model = threshold_model(rounds=0, thresholds=(0.4, 0.7))
    onnx.save(model, tmp_path / MODEL_FILE)
    assert leading_to(["segmentation", "confidence"], tmp_path / MODEL_FILE) is None
