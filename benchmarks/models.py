"""Models to measure with: the network of the paper, and one so small that everything else shows. Weights are random."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scans.intensity import IntensityRule, Window
from scans.model.expected_dice import DiceCalibration
from scans.model.manifest import MODEL_FILE, QUALITY_FOLDER, Golden, Kind, ModelManifest, Variant, file_sha256
from scans.organs import OrganMap
from training.export.files import write_onnx
from training.export.graph import QualityModel, SegmentationModel
from training.export.precision import VARIANTS_DIR, write_int8
from training.learning.networks import Architecture, ClassifierArchitecture, build_classifier, build_unet

Size = Literal["unet", "tiny"]

ORGANS = OrganMap.from_mapping({1: "heart", 2: "eye", 3: "swim bladder"})
WINDOW = Window(0.0, 4000.0)
_GOLDEN_SIDE = 256
_ENDS = np.array([[WINDOW.lower, WINDOW.upper]], np.float32)


class _Tiny(nn.Module):
    """One 3 x 3 convolution and one comparison: about a five-hundredth of the U-Net's work."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, ORGANS.classes, 3, padding=1)

    def forward(self, normalised: Tensor) -> Tensor:
        logits: Tensor = self.convolution(normalised)
        return logits


def write_model(folder: Path, size: Size, *, seed: int = 1) -> Path:
    """A model folder that a server takes, and that answers with every class somewhere; each seed has other weights."""
    torch.manual_seed(seed)
    network: nn.Module = _Tiny() if size == "tiny" else build_unet(Architecture("resnet18", 5, len(ORGANS)))
    write_onnx(folder / MODEL_FILE, SegmentationModel(network.eval()))
    generator = np.random.default_rng(1)
    golden = generator.integers(0, 4000, (_GOLDEN_SIDE, _GOLDEN_SIDE)).astype(np.float32)
    answer = _said(folder / MODEL_FILE, "segmentation", {"slices": golden[np.newaxis], "window": _ENDS})[0]
    _manifest(size, "segmentation", folder / MODEL_FILE, Golden(golden, WINDOW, answer)).write(folder)
    return folder


def add_int8(model: Path) -> Path:
    """Puts an int8 variant into a model folder that `write_model` wrote, and gives the model folder.

    With random weights it is no better or worse than float32; its manifest says how much differs on the golden slice.
    """
    manifest = ModelManifest.read(model)
    file, golden = model / VARIANTS_DIR / "int8.onnx", manifest.golden
    file.parent.mkdir()
    feed = {"slices": golden.slice[np.newaxis], "window": _ENDS}
    write_int8(model / MODEL_FILE, file, [feed])
    answer = _said(file, "segmentation", feed)[0]
    differing = float(np.mean(answer != golden.segmentation))
    variant = Variant(f"{VARIANTS_DIR}/{file.name}", file_sha256(file), 0.0, 0.0, differing, answer)
    dataclasses.replace(manifest, variants={"int8": variant}).write(model)
    return model


def add_classifier(model: Path, *, seed: int = 1) -> Path:
    """Puts a Quality Classifier below a model folder that `write_model` wrote, and gives the model folder."""
    torch.manual_seed(seed)
    folder, golden = model / QUALITY_FOLDER, ModelManifest.read(model).golden
    network = build_classifier(ClassifierArchitecture(len(ORGANS), side=64, encoder_depth=3, expects_dice=True)).eval()
    write_onnx(folder / MODEL_FILE, QualityModel(network, organs=len(ORGANS), side=64, expects_dice=True))
    shown: dict[str, NDArray[Any]] = {
        "slices": golden.slice[np.newaxis],
        "window": _ENDS,
        "segmentation": golden.segmentation[np.newaxis],
    }
    good = float(_said(folder / MODEL_FILE, "good", shown)[0])
    manifest = _manifest("tiny-quality", "quality", folder / MODEL_FILE, dataclasses.replace(golden, good=good))
    calibration = DiceCalibration.of(np.empty((0, len(ORGANS))), np.empty((0, len(ORGANS))))
    dataclasses.replace(manifest, threshold=0.5, expected_dice=calibration).write(folder)
    return model


def _said(path: Path, output: str, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answer: NDArray[Any] = session.run([output], dict(feed))[0]
    return answer


def _manifest(name: str, kind: Kind, path: Path, golden: Golden) -> ModelManifest:
    return ModelManifest(
        name=name,
        kind=kind,
        organs=ORGANS,
        intensity=IntensityRule(lower_percentile=0.0, upper_percentile=100.0, fixed=WINDOW),
        model_sha256=file_sha256(path),
        data_sha256="0" * 64,
        spacing_mm=((0.001, 1.0), (0.001, 1.0), (0.001, 1.0)),
        intensity_range=(WINDOW.lower, WINDOW.upper),
        golden=golden,
    )
