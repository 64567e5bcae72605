"""What a torch network says of raw slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scans.intensity import Window
from scans.tiling import Forward
from training.learning.fusion import Opinion


def predictor(network: nn.Module, *, window: Window, device: torch.device | None = None) -> Forward:
    """Raw (N, Y, X) slices of a volume with that window -> uint8 (N, Y, X) class indices.

    `network` takes float32 (N, 1, Y, X) in 0..1 and gives (N, classes, Y, X) logits; it is moved to `device`, a GPU
    where there is one, and set to evaluation.
    """
    logits_of = _logits_of(network, window, device)

    def forward(slices: NDArray[Any]) -> NDArray[np.uint8]:
        segmentation: NDArray[np.uint8] = logits_of(slices).argmax(dim=1).to(torch.uint8).cpu().numpy()
        return segmentation

    return forward


def opinions_of(network: nn.Module, *, window: Window) -> Callable[[NDArray[Any]], Opinion]:
    """As `predictor`, with the probability of each class index beside it."""
    logits_of = _logits_of(network, window, None)

    def forward(slices: NDArray[Any]) -> Opinion:
        certainty, classes = torch.softmax(logits_of(slices).float(), dim=1).max(dim=1)
        return Opinion(classes.to(torch.uint8).cpu().numpy(), certainty.cpu().numpy())

    return forward


def _logits_of(
    network: nn.Module, window: Window, device: torch.device | None
) -> Callable[[NDArray[Any]], torch.Tensor]:
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).to(memory_format=torch.channels_last).eval()

    def forward(slices: NDArray[Any]) -> torch.Tensor:
        normalised = torch.from_numpy(window.normalise(slices)).unsqueeze(1)
        with torch.inference_mode():
            logits: torch.Tensor = network(normalised.to(device))
        return logits

    return forward
