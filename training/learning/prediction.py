"""Segmentation of raw slices with a torch network; what a server does with the exported model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scans.intensity import Window
from scans.tiling import Forward
from training.learning.processes import has_bfloat16


def predictor(network: nn.Module, *, window: Window, device: torch.device | None = None) -> Forward:
    """Raw (N, Y, X) slices of a volume with that window -> uint8 (N, Y, X) class indices.

    `network` takes float32 (N, 1, Y, X) in 0..1 and gives (N, classes, Y, X) logits; it is moved to `device`, a GPU
    where there is one, and set to evaluation.
    """
    logits_of = logits_predictor(network, window=window, device=device)

    def forward(slices: NDArray[Any]) -> NDArray[np.uint8]:
        segmentation: NDArray[np.uint8] = logits_of(slices).argmax(dim=1).to(torch.uint8).cpu().numpy()
        return segmentation

    return forward


def logits_predictor(
    network: nn.Module, *, window: Window, device: torch.device | None = None, as_trained: bool = False
) -> Callable[[NDArray[Any]], Tensor]:
    """As `predictor`: raw (N, Y, X) slices -> (N, classes, Y, X) logits, on the device.

    `as_trained`: in bfloat16 where the device has it, for labels; False: in float32, as what is exported and scored.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    quick = as_trained and has_bfloat16(device)
    network.to(device).to(memory_format=torch.channels_last).eval()

    def forward(slices: NDArray[Any]) -> Tensor:
        normalised = torch.from_numpy(window.normalise(slices)).unsqueeze(1)
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=quick):
            logits: Tensor = network(normalised.to(device))
        return logits

    return forward
