"""What the Quality Classifier is shown: a slice and one channel per organ of its mask, resized to a square.

Pixels are averaged by the area that they cover. So an organ of a few pixels fades, where picking the nearest pixel
would lose it; and since averaging is two matrix products, the exported model does exactly the same for any slice size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scans.intensity import Window
from scans.verdicts import Verdicts

Scorer = Callable[[NDArray[Any], NDArray[np.uint8], Window], Verdicts]
"""Raw slices (N, Y, X), class indices uint8 (N, Y, X), their volume's window -> what the classifier says of them."""


def classifier_input(normalised: Tensor, segmentation: Tensor, *, organs: int, side: int) -> tuple[Tensor, Tensor]:
    """Float (N, Y, X) slices in 0..1 and integer (N, Y, X) class indices -> what the classifier takes.

    Returns float32 slices (N, 1, side, side) and masks (N, organs, side, side): the share of each pixel that the organ
    covers. Differentiable in nothing, traceable for any N, Y and X.
    """
    indices = torch.arange(1, organs + 1, device=segmentation.device, dtype=torch.int32).view(1, organs, 1, 1)
    masks = (segmentation.to(torch.int32).unsqueeze(1) == indices).to(torch.float32)
    return _averaged(normalised.to(torch.float32).unsqueeze(1), side), _averaged(masks, side)


def _averaged(channels: Tensor, side: int) -> Tensor:
    """(N, C, Y, X) -> (N, C, side, side), each pixel the mean over the area that it covers."""
    rows = area_weights(channels.shape[-2], side, device=channels.device)
    columns = area_weights(channels.shape[-1], side, device=channels.device)
    return rows @ channels @ columns.T


def area_weights(length: int, side: int, *, device: torch.device | None = None) -> Tensor:
    """float32 (side, length): how much of each of `side` equal parts of a line lies on each of its `length` pixels."""
    edges = torch.arange(side + 1, device=device, dtype=torch.float32) * length / side
    pixels = torch.arange(length, device=device, dtype=torch.float32)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return overlap.clamp(min=0) * side / length


def scorer(classifier: nn.Module, *, organs: int, side: int, device: torch.device | None = None) -> Scorer:
    """The classifier as a function of slices and masks.

    It is set to evaluation and moved to `device`, a GPU where there is one.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier.to(device).eval()

    def score(slices: NDArray[Any], segmentation: NDArray[np.uint8], window: Window) -> Verdicts:
        with torch.inference_mode():
            normalised = torch.from_numpy(window.normalise(slices)).to(device)
            shown = classifier_input(normalised, torch.from_numpy(segmentation).to(device), organs=organs, side=side)
            said: NDArray[np.float32] = torch.sigmoid(classifier(*shown)).float().cpu().numpy()
        return Verdicts(said[:, 0], said[:, 1:] if said.shape[1] > 1 else None)

    return score
