"""Consistency: a network is to answer a changed patch as it answers the patch itself, where it is sure of that.

After UniMatch (Yang et al. 2023, Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation,
version 1: a changed picture, and changed features), whose pictures take over a box of another one (CutMix, Yun et al.
2019). Here the others of a step are labelled and pseudo-labelled patches alike, so that either is pasted into either
(as in BCP, Bai et al. 2023). It asks for no label, and costs three more passes of the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.learning.networks import SegmentationNetwork

SURE = 0.95
"""Least probability of a pixel's class that an answer is taken over with, as in UniMatch."""
_DROPPED = 0.5
"""Share of the channels that are left out where features are changed."""
_LEAST_SIDE, _GREATEST_SIDE = 0.25, 0.75
"""Of a box, as shares of the patch's."""


class Aims(NamedTuple):
    """What a network answered to patches as they are."""

    classes: Tensor
    """int64 (N, H, W)."""
    sure: Tensor
    """bool (N, H, W)."""


def consistency_loss(model: nn.Module, unchanged: Tensor, changed: Tensor, *, seed: int) -> Tensor:
    """Mean of two cross-entropies over all pixels, 0 where the network is not sure.

    `unchanged` and `changed` are the same patches, float32 (N, 1, H, W), with other grey values. The first is that of
    changed patches with a box of each other, the second that of the patches as they are, with half of the features'
    channels left out. `seed` decides boxes and channels.
    """
    draws = torch.Generator().manual_seed(seed)
    with statistics_kept(model):
        with torch.no_grad():
            probability, classes = torch.softmax(model(unchanged).float(), dim=1).max(dim=1)
        aims = Aims(classes, probability >= SURE)
        box = _boxes(len(changed), changed.shape[-2:], draws).to(changed.device)
        strong = _against(model(pasted(changed, box)), Aims(*(pasted(part, box) for part in aims)))
        with channels_left_out(model, draws):
            perturbed = _against(model(unchanged), aims)
    return (strong + perturbed) / 2


def pasted(patches: Tensor, box: Tensor) -> Tensor:
    """Each of (N, ..., H, W) with the next one's pixels where `box`, bool (N, H, W), is True; the next of the last is
    the first.
    """
    inside = box if patches.ndim == box.ndim else box.unsqueeze(1)
    return torch.where(inside, patches.roll(-1, dims=0), patches)


def _boxes(count: int, shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    """bool (N, H, W): a random box in each."""
    box = torch.ones(count, *shape, dtype=torch.bool)
    for axis, length in enumerate(shape):
        side, place = torch.rand(2, count, generator=draws)
        span = length * (_LEAST_SIDE + side * (_GREATEST_SIDE - _LEAST_SIDE))
        start = (place * (length - span)).view(count, 1)
        positions = torch.arange(length).view(1, length)
        within = (positions >= start) & (positions < start + span.view(count, 1))
        box &= within.view(count, length, 1) if axis == 0 else within.view(count, 1, length)
    return box


def _against(logits: Tensor, aims: Aims) -> Tensor:
    losses = functional.cross_entropy(logits.float(), aims.classes, reduction="none")
    return torch.where(aims.sure, losses, 0.0).mean()


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Inside, no batch normalisation takes in what it sees: the network will be used on patches as they are."""
    layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


@contextmanager
def channels_left_out(model: nn.Module, draws: torch.Generator) -> Iterator[None]:
    """Inside, half of the channels of what the encoder makes of each patch are 0, and the others count double."""
    network = next(module for module in model.modules() if isinstance(module, SegmentationNetwork))

    def left_out(_encoder: nn.Module, _inputs: Any, features: list[Tensor]) -> list[Tensor]:
        return [features[0], *(_thinned(of_level, draws) for of_level in features[1:])]

    hook = network.unet.encoder.register_forward_hook(left_out)
    try:
        yield
    finally:
        hook.remove()


def _thinned(features: Tensor, draws: torch.Generator) -> Tensor:
    """(N, C, H, W)."""
    count, channels = features.shape[:2]
    kept = torch.rand(count, channels, 1, 1, generator=draws) >= _DROPPED
    return features * (kept / (1 - _DROPPED)).to(features)
