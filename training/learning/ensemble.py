"""Ensemble: several networks answer as one, each of them of a slice as it is and of its mirror image.

Networks that learnt from other volumes, or in other order, err elsewhere: where they are mistaken they are seldom all
of one opinion (Lakshminarayanan et al. 2017). That is for the labels that a Student learns from; what serves is one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from scans.organs import OrganMap
from training.params import Mirror


class Ensemble(nn.Module):
    """The mean probability over networks, and over a slice and its mirror image where one is asked for.

    In the mirror image left and right organs have traded places; they trade back.
    """

    def __init__(self, networks: Sequence[nn.Module], organs: OrganMap, *, mirror: Mirror) -> None:
        super().__init__()
        if not networks:
            raise ValueError("an ensemble of no networks; at least one is needed")
        self.networks = nn.ModuleList(networks)
        self._flipped = {"none": None, "y": -2, "x": -1}[mirror]
        self._mirrored = organs.mirrored.astype(np.int64)

    def forward(self, slices: Tensor) -> Tensor:
        """float32 (N, 1, H, W) -> (N, classes, H, W) logits: logarithms of the mean probabilities."""
        total = self._answer(slices)
        if self._flipped is not None:
            seen = self._answer(slices.flip(self._flipped))
            total = (total + seen.flip(self._flipped)[:, torch.from_numpy(self._mirrored)]) / 2
        return torch.log(total.clamp_min(torch.finfo(total.dtype).tiny))

    def _answer(self, slices: Tensor) -> Tensor:
        """The mean probability over networks; one of them is in memory beside it."""
        total = torch.zeros((), device=slices.device)
        for network in self.networks:
            total = total + torch.softmax(network(slices).float(), dim=1) / len(self.networks)
        return total
