"""Fusion: one class for each voxel, of what networks say who look along different axes.

Networks that see a voxel in other planes err in other places (Zhou et al. 2019, Semi-Supervised 3D Abdominal
Multi-Organ Segmentation via Deep Multi-Planar Co-Training). Slices have a say with the probabilities of all classes.
Other planes vote, with one class and its probability for each voxel: all probabilities of a scan of 3 Gvoxel would fill
a hundred gigabytes.

Of organs that come in pairs a vote says that it is one of them, no more. A plane that lies on one side of the animal
does not show which side that is, and a network that looks at it alone can but guess (as in FastSurfer, Henschel et al.
2020, where the sagittal network knows no left and right); the slices decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Vote(NamedTuple):
    """What was seen in planes along another axis, of as many pixels as there are."""

    classes: Tensor
    """uint8: the most probable class; of a pair either."""
    probability: Tensor
    """float, 0..1: its probability, of a pair that of both."""


def vote(probabilities: Tensor, partners: Tensor) -> Vote:
    """Of float (N, K, H, W) probabilities; `partners` int64 (K,) has the class on the other side of the animal.

    A class that has none is its own partner, as in OrganMap.mirrored.
    """
    others = probabilities[:, partners] * _paired(partners).view(1, -1, 1, 1)
    probability, classes = (probabilities + others).max(dim=1)
    return Vote(classes.to(torch.uint8), probability)


def fused(probabilities: Tensor, votes: Sequence[Vote], partners: Tensor) -> tuple[Tensor, Tensor]:
    """The class, uint8 (N, H, W), with the greatest sum of its probability in slices and of the votes for it.

    `probabilities` are float (N, K, H, W), each vote (N, H, W). Beside the classes: that sum over the number of those
    who had a say, (N, H, W) from 0 to 1.
    """
    total = probabilities.clone() if votes else probabilities
    for classes, probability in votes:
        for class_, partner in enumerate(partners.tolist()):
            total[:, class_] += torch.where((classes == class_) | (classes == partner), probability, 0.0)
    most, best = total.max(dim=1)
    return best.to(torch.uint8), most / (1 + len(votes))


def organ_means(certainty: Tensor, classes: Tensor, *, organs: int) -> Tensor:
    """The mean of `certainty`, (N, H, W), over the pixels of each organ, by `classes`, uint8 (N, H, W).

    Float (N, organs); NaN where a slice has no pixel of an organ.
    """
    means = []
    for organ in range(1, organs + 1):
        own = classes == organ
        total = torch.where(own, certainty, 0.0).sum(dim=(1, 2), dtype=torch.float64)
        means.append(total / own.sum(dim=(1, 2)))
    return torch.stack(means, dim=1).float()


def _paired(partners: Tensor) -> Tensor:
    """bool (K,)."""
    return partners != torch.arange(len(partners), device=partners.device)
