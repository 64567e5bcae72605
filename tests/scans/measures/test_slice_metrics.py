"""How good a single slice is: its organs' pixels pooled, and organs that are made up or not found."""

import numpy as np
import pytest
from numpy.typing import NDArray

from scans.measures.metrics import OrganCounts, slice_iou

CLASSES = 4
"""Background, heart, brain and liver."""


def row(heart: int, brain: int = 0) -> NDArray[np.uint8]:
    """A slice of one row of 40 pixels: the heart's from the left, the brain's from the right."""
    pixels = np.zeros((1, 40), dtype=np.uint8)
    pixels[0, :heart] = 1
    pixels[0, 40 - brain :] = 2
    return pixels


def test_the_iou_of_a_slice_pools_the_pixels_of_its_organs() -> None:
    """Heart: 1 hit, 1 missed; brain: 1 invented: 1 of 3 pixels. Heart called brain: 1 wrong for both, 1 of 3 again."""
    truth = np.array([[1, 1, 0]])

    assert slice_iou(np.array([[1, 0, 2]]), truth, classes=CLASSES) == 1 / 3
    assert slice_iou(np.array([[1, 2, 0]]), truth, classes=CLASSES) == 1 / 3
    assert slice_iou(truth, truth, classes=CLASSES) == 1.0


def test_a_stray_pixel_of_an_absent_organ_costs_a_slice_little() -> None:
    """18 of 20 heart pixels are 0.9; with one of a brain that is not there it is 18 of 21, not half of 0.9."""
    assert slice_iou(row(heart=18), row(heart=20), classes=CLASSES) == 0.9
    assert slice_iou(row(heart=18, brain=1), row(heart=20), classes=CLASSES) == 18 / 21


def test_a_missed_organ_costs_a_slice_its_share_of_the_pixels() -> None:
    """A heart of 18 pixels that is right and a brain of 6 that is missed: 18 of 24."""
    assert slice_iou(row(heart=18), row(heart=18, brain=6), classes=CLASSES) == 0.75


def test_a_slice_without_organs_has_no_iou() -> None:
    """Background alone in prediction and truth is None; an organ in either alone is 0."""
    empty = row(heart=0)

    assert slice_iou(empty, empty, classes=CLASSES) is None
    assert slice_iou(row(heart=1), empty, classes=CLASSES) == 0.0
    assert slice_iou(empty, row(heart=1), classes=CLASSES) == 0.0


@pytest.mark.parametrize(
    ("prediction", "invented", "missed"),
    [([[1, 1, 0]], False, False), ([[1, 0, 2]], True, False), ([[2, 2, 0]], True, True), ([[0, 0, 0]], False, True)],
)
def test_organs_that_are_made_up_or_not_found(prediction: list[list[int]], *, invented: bool, missed: bool) -> None:
    """Truth is two pixels of heart: one of them will do; a brain is made up, alone or beside it."""
    counts = OrganCounts.of(np.array(prediction), np.array([[1, 1, 0]]), classes=CLASSES)
    assert (counts.invented, counts.missed) == (invented, missed)
