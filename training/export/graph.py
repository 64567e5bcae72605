"""The networks as they are exported: raw grey values and a window in, what a server needs out, nothing left to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.quality.classifier_input import classifier_input


def normalise(slices: Tensor, window: Tensor) -> Tensor:
    """float32 (N, Y, X) grey values, float32 (N, 2) lower and upper -> float32 (N, Y, X) in 0..1.

    The operations of `scans.intensity.Window.normalise`, in the same order.
    """
    lower, upper = window[:, 0, None, None], window[:, 1, None, None]
    values = torch.minimum(torch.maximum(slices, lower), upper)
    return (values - lower) / (upper - lower)


class SegmentationModel(nn.Module):
    """A Teacher or Student that takes raw slices and says which organ each pixel is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (N, Y, X) grey values, float32 (N, 2) -> uint8 (N, Y, X) class index, float32 (N, Y, X) confidence.

        Confidence is the winning probability, 1 / sum(exp(logits - highest)), which needs no softmax over all classes:
        ONNX Runtime on the CPU computes both outputs whichever is fetched.
        """
        logits: Tensor = self.network(normalise(slices, window).unsqueeze(1))
        confidence = (logits - logits.amax(dim=1, keepdim=True)).exp().sum(dim=1).reciprocal()
        return logits.argmax(dim=1).to(torch.uint8), confidence


class QualityModel(nn.Module):
    """The Quality Classifier that takes raw slices and a segmentation of them."""

    def __init__(self, classifier: nn.Module, *, organs: int, side: int, expects_dice: bool) -> None:
        super().__init__()
        self.classifier = classifier
        self.organs = organs
        self.side = side
        self.expects_dice = expects_dice

    def forward(self, slices: Tensor, window: Tensor, segmentation: Tensor) -> tuple[Tensor, ...]:
        """float32 (N, Y, X), float32 (N, 2), uint8 (N, Y, X) class index -> float32 (N,) probability of good, and
        float32 (N, organs), the Dice that is expected of each organ, where the classifier says it."""
        shown = classifier_input(normalise(slices, window), segmentation, organs=self.organs, side=self.side)
        said = self.classifier(*shown).sigmoid()
        good: Tensor = said[:, 0]
        return (good, said[:, 1:]) if self.expects_dice else (good,)
