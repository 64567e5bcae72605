"""Several networks that answer as one, worked out on a slice of two pixels."""

import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny_volumes import ORGANS
from training.learning.ensemble import Ensemble

CLASSES = 4
LEFT_EYE, RIGHT_EYE = 1, 2


class Bright(nn.Module):
    """Sees an organ with this probability where a pixel is bright, background where it is dark."""

    def __init__(self, organ: int, probability: float) -> None:
        super().__init__()
        self.organ, self.probability = organ, probability

    def forward(self, slices: Tensor) -> Tensor:
        bright = slices[:, 0] > 0.5
        organ = torch.where(bright, self.probability, 0.0)
        answer = torch.zeros(len(slices), CLASSES, *slices.shape[2:])
        answer[:, 0], answer[:, self.organ] = 1 - organ, organ
        return torch.log(answer)


class LeftIsLeftEye(nn.Module):
    """Takes the first column for the left eye, whatever is there."""

    def forward(self, slices: Tensor) -> Tensor:
        answer = torch.zeros(len(slices), CLASSES, *slices.shape[2:])
        answer[:, 0, :, 1:], answer[:, LEFT_EYE, :, 0] = 1, 1
        return torch.log(answer)


SLICE = torch.tensor([[[[1.0, 0.0]]]])


def probabilities(ensemble: Ensemble) -> list[list[float]]:
    """Of each class, those of both pixels."""
    return torch.softmax(ensemble(SLICE), dim=1)[0, :, 0].tolist()


def test_the_probabilities_of_networks_are_averaged() -> None:
    """Heart with 0.8 and left eye with 0.4: background 0.4, left eye 0.2, heart 0.4 where it is bright."""
    both = Ensemble([Bright(3, 0.8), Bright(LEFT_EYE, 0.4)], ORGANS, mirror="none")
    found = probabilities(both)
    assert [of_class[0] for of_class in found] == pytest.approx([0.4, 0.2, 0.0, 0.4], abs=1e-6)
    assert [of_class[1] for of_class in found] == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=1e-6)


def test_a_mirror_image_is_turned_back_and_its_left_is_right() -> None:
    """What takes the first column for the left eye says of the mirror image that the last column is the right one."""
    found = probabilities(Ensemble([LeftIsLeftEye()], ORGANS, mirror="x"))
    assert [of_class[0] for of_class in found] == pytest.approx([0.5, 0.5, 0.0, 0.0], abs=1e-6)
    assert [of_class[1] for of_class in found] == pytest.approx([0.5, 0.0, 0.5, 0.0], abs=1e-6)


def test_rows_are_mirrored_along_y() -> None:
    """A slice of one row is its own mirror image; but left and right have traded places."""
    found = probabilities(Ensemble([LeftIsLeftEye()], ORGANS, mirror="y"))
    assert [of_class[0] for of_class in found] == pytest.approx([0.0, 0.5, 0.5, 0.0], abs=1e-6)


def test_an_ensemble_needs_a_network() -> None:
    """Of nothing there is no mean."""
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([], ORGANS, mirror="none")
