"""Models to measure with: the network of the paper, and one so small that everything else shows. Weights are random."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from scans.intensity import IntensityRule, Window
from scans.model.manifest import MODEL_FILE, Golden, ModelManifest, file_sha256
from scans.organs import OrganMap
from training.export.files import write_onnx
from training.export.graph import SegmentationModel
from training.learning.networks import Architecture, build_unet

Size = Literal["unet", "tiny"]

ORGANS = OrganMap.from_mapping({1: "heart", 2: "eye", 3: "swim bladder"})
WINDOW = Window(0.0, 4000.0)
_GOLDEN_SIDE = 256


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
    session = onnxruntime.InferenceSession(folder / MODEL_FILE, providers=["CPUExecutionProvider"])
    ends = np.array([[WINDOW.lower, WINDOW.upper]], np.float32)
    answer = session.run(["segmentation"], {"slices": golden[np.newaxis], "window": ends})[0][0]
    ModelManifest(
        name=size,
        kind="segmentation",
        organs=ORGANS,
        intensity=IntensityRule(lower_percentile=0.0, upper_percentile=100.0, fixed=WINDOW),
        model_sha256=file_sha256(folder / MODEL_FILE),
        data_sha256="0" * 64,
        spacing_mm=((0.001, 1.0), (0.001, 1.0), (0.001, 1.0)),
        intensity_range=(WINDOW.lower, WINDOW.upper),
        golden=Golden(golden, WINDOW, answer),
    ).write(folder)
    return folder
