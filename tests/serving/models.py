"""Tiny models of the contract, built by hand: no torch, no training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from harness.offline import run_offline
from scans.intensity import IntensityRule, Window
from scans.model.expected_dice import DiceCalibration
from scans.model.manifest import MODEL_FILE, Golden, ModelManifest, file_sha256
from scans.organs import OrganMap

ORGANS = OrganMap.from_mapping({1: "heart", 2: "eye"})
GOLDEN_WINDOW = Window(0.0, 100.0)


def write_model(
    folder: Path, *, name: str = "thresholds", rounds: int = 0, thresholds: Sequence[float] = (0.4, 0.7)
) -> Path:
    """A model folder: background below the first threshold of the normalised grey value, heart, eye above the second.

    `rounds` 31 x 31 convolutions that change nothing make it slow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(threshold_model(rounds=rounds, thresholds=thresholds), folder / MODEL_FILE)
    golden = np.tile(np.linspace(-20, 120, 48, dtype=np.float32), (40, 1))
    manifest = ModelManifest(
        name=name,
        kind="segmentation",
        organs=ORGANS,
        intensity=IntensityRule(lower_percentile=0.0, upper_percentile=100.0),
        model_sha256=file_sha256(folder / MODEL_FILE),
        data_sha256="0" * 64,
        spacing_mm=((0.01, 0.02), (0.01, 0.02), (0.01, 0.02)),
        intensity_range=(0.0, 100.0),
        golden=Golden(golden, GOLDEN_WINDOW, run_offline(folder, golden[np.newaxis], GOLDEN_WINDOW)[0]),
        metrics={"mean_dice": 0.5},
    )
    manifest.write(folder)
    return folder


def write_classifier(
    folder: Path, *, threshold: float = 0.5, good: float | None = None, expected_dice: DiceCalibration | None = None
) -> Path:
    """A quality model folder: mean normalised grey value of heart pixels, 0 elsewhere, over all pixels of a slice.

    `good` is what it claims to say of the golden slice; None: the truth. With `expected_dice` it says of the heart in a
    slice what it says of the slice, and of the eye 1 less that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(heart_model(dice=expected_dice is not None), folder / MODEL_FILE)
    golden = np.tile(np.linspace(-20, 120, 48, dtype=np.float32), (40, 1))
    segmentation = np.where(golden > 50, 1, 0).astype(np.uint8)
    truth = float(np.where(segmentation == 1, golden / 100, 0).mean())
    manifest = ModelManifest(
        name="thresholds-quality",
        kind="quality",
        organs=ORGANS,
        intensity=IntensityRule(lower_percentile=0.0, upper_percentile=100.0),
        model_sha256=file_sha256(folder / MODEL_FILE),
        data_sha256="0" * 64,
        spacing_mm=((0.01, 0.02), (0.01, 0.02), (0.01, 0.02)),
        intensity_range=(0.0, 100.0),
        golden=Golden(golden, GOLDEN_WINDOW, segmentation, truth if good is None else good),
        threshold=threshold,
        expected_dice=expected_dice,
    )
    manifest.write(folder)
    return folder


def threshold_model(*, rounds: int, thresholds: Sequence[float]) -> onnx.ModelProto:
    """(slices - lower) / (upper - lower), convolved `rounds` times with the identity, compared with the thresholds."""
    kernel = np.zeros((1, 1, 31, 31), dtype=np.float32)
    kernel[0, 0, 15, 15] = 1.0
    constants = {
        "low_index": np.array([0], dtype=np.int64),
        "high_index": np.array([1], dtype=np.int64),
        "two_axes": np.array([1, 2], dtype=np.int64),
        "channel": np.array([1], dtype=np.int64),
        "kernel": kernel,
        **{f"threshold_{n}": np.array(value, dtype=np.float32) for n, value in enumerate(thresholds)},
    }
    nodes = [
        helper.make_node("Gather", ["window", "low_index"], ["low_"], axis=1),
        helper.make_node("Gather", ["window", "high_index"], ["high_"], axis=1),
        helper.make_node("Unsqueeze", ["low_", "channel"], ["low"]),
        helper.make_node("Unsqueeze", ["high_", "channel"], ["high"]),
        helper.make_node("Sub", ["slices", "low"], ["above"]),
        helper.make_node("Sub", ["high", "low"], ["width"]),
        helper.make_node("Div", ["above", "width"], ["normalised"]),
        helper.make_node("Unsqueeze", ["normalised", "channel"], ["blurred_0"]),
    ]
    for turn in range(rounds):
        nodes.append(
            helper.make_node("Conv", [f"blurred_{turn}", "kernel"], [f"blurred_{turn + 1}"], pads=[15, 15, 15, 15])
        )
    nodes.append(helper.make_node("Squeeze", [f"blurred_{rounds}", "channel"], ["score"]))
    parts = []
    for number in range(len(thresholds)):
        nodes += [
            helper.make_node("Greater", ["score", f"threshold_{number}"], [f"is_{number}"]),
            helper.make_node("Cast", [f"is_{number}"], [f"class_{number}"], to=TensorProto.UINT8),
        ]
        parts.append(f"class_{number}")
    nodes.append(helper.make_node("Add", parts, ["segmentation"]))
    nodes.append(helper.make_node("Sigmoid", ["score"], ["confidence"]))
    pixels = ["N", "Y", "X"]
    graph = helper.make_graph(
        nodes,
        "thresholds",
        [
            helper.make_tensor_value_info("slices", TensorProto.FLOAT, pixels),
            helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", 2]),
        ],
        [
            helper.make_tensor_value_info("segmentation", TensorProto.UINT8, pixels),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, pixels),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def heart_model(*, dice: bool = False) -> onnx.ModelProto:
    """mean over (Y, X) of (slices - lower) / (upper - lower) where the class is 1, and 0 elsewhere; dice: that, and 1
    less that."""
    constants = {
        "low_index": np.array([0], dtype=np.int64),
        "high_index": np.array([1], dtype=np.int64),
        "channel": np.array([1], dtype=np.int64),
        "plane": np.array([1, 2], dtype=np.int64),
        "heart": np.array(1, dtype=np.uint8),
        **({"one": np.array(1, dtype=np.float32)} if dice else {}),
    }
    outputs = [helper.make_tensor_value_info("good", TensorProto.FLOAT, ["N"])]
    of_organs = [
        helper.make_node("Sub", ["one", "good"], ["bad"]),
        helper.make_node("Unsqueeze", ["good", "channel"], ["of_heart"]),
        helper.make_node("Unsqueeze", ["bad", "channel"], ["of_eye"]),
        helper.make_node("Concat", ["of_heart", "of_eye"], ["dice"], axis=1),
    ]
    if dice:
        outputs.append(helper.make_tensor_value_info("dice", TensorProto.FLOAT, ["N", 2]))
    nodes = [
        helper.make_node("Gather", ["window", "low_index"], ["low_"], axis=1),
        helper.make_node("Gather", ["window", "high_index"], ["high_"], axis=1),
        helper.make_node("Unsqueeze", ["low_", "channel"], ["low"]),
        helper.make_node("Unsqueeze", ["high_", "channel"], ["high"]),
        helper.make_node("Sub", ["slices", "low"], ["above"]),
        helper.make_node("Sub", ["high", "low"], ["width"]),
        helper.make_node("Div", ["above", "width"], ["normalised"]),
        helper.make_node("Equal", ["segmentation", "heart"], ["is_heart"]),
        helper.make_node("Cast", ["is_heart"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["normalised", "mask"], ["shown"]),
        helper.make_node("ReduceMean", ["shown", "plane"], ["good"], keepdims=0),
        *(of_organs if dice else []),
    ]
    pixels = ["N", "Y", "X"]
    graph = helper.make_graph(
        nodes,
        "heart",
        [
            helper.make_tensor_value_info("slices", TensorProto.FLOAT, pixels),
            helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("segmentation", TensorProto.UINT8, pixels),
        ],
        outputs,
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
