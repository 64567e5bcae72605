"""Prediction from raw slices applies the window and takes the class with the largest logit."""

import numpy as np
import torch
from torch import Tensor, nn

from scans.intensity import Window
from training.learning.prediction import predictor


class Threshold(nn.Module):
    """Class 1 where the normalised value is above 1/2, class 2 where it is above 3/4."""

    def forward(self, normalised: Tensor) -> Tensor:
        return torch.cat([torch.full_like(normalised, 0.5), normalised, 3 * normalised - 1.5], dim=1)


def test_raw_slices_become_class_indices() -> None:
    """Window 100 to 200: 140 and all below is background, 160 class 1, 180 and all above class 2."""
    forward = predictor(Threshold(), window=Window(100, 200))
    segmentation = forward(np.array([[[0, 140, 160]], [[180, 200, 9999]]], dtype=np.uint16))
    assert segmentation.dtype == np.uint8
    assert segmentation.tolist() == [[[0, 0, 1]], [[2, 2, 2]]]


def test_the_network_is_set_to_evaluation_and_records_no_gradients() -> None:
    """Batch statistics of the slices that happen to come together must not change the answer."""
    network = nn.Sequential(nn.BatchNorm2d(1), Threshold()).train()
    modes: list[tuple[bool, bool]] = []
    network.register_forward_hook(lambda module, _, output: modes.append((module.training, output.requires_grad)))
    predictor(network, window=Window(0, 1))(np.zeros((1, 2, 2), dtype=np.float32))
    assert modes == [(False, False)]
