"""Expected and true Dice of validation volumes, with models whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scans.intensity import Window
from scans.organs import NOT_LABELLED
from scans.verdicts import Verdicts
from tests.training.tiny_volumes import fish, write_catalogue, write_volume
from training.data.prepared import Catalogue, SliceReader
from training.export.expected_dice import DiceSamples, dice_samples
from training.export.seen import ExportedModels


class Halves:
    """Segments class 1 in the left half of each slice, and expects 0.5 of it in even slices, 0.25 in odd ones."""

    def __init__(self) -> None:
        self.slices = 0

    def segment(self, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        assert window.lower < window.upper
        segmentation = np.zeros(slices.shape, np.uint8)
        segmentation[:, :, : slices.shape[2] // 2] = 1
        return segmentation

    def verdicts(self, slices: NDArray[Any], segmentation: NDArray[np.uint8], window: Window) -> Verdicts:
        assert slices.shape == segmentation.shape and window.lower < window.upper
        numbers = self.slices + np.arange(len(slices))
        self.slices += len(slices)
        dice = np.tile(np.where(numbers % 2 == 0, 0.5, 0.25)[:, np.newaxis], (1, 3))
        return Verdicts(np.ones(len(slices), np.float32), dice.astype(np.float32))


def data_set(folder: Path, labels: NDArray[np.uint8]) -> Catalogue:
    """One validation volume with these labels, one to train on that nobody must be asked about."""
    image = np.full(labels.shape, 100, np.uint16)
    held_out = write_volume(folder, "held_out", image, labels, split="validation")
    return write_catalogue(folder, held_out, write_volume(folder, "train_0", *fish(1), split="train"))


def samples_of(folder: Path, labels: NDArray[np.uint8], *, slices: int) -> DiceSamples:
    models: Any = ExportedModels(halves := Halves(), halves, 0.5)  # type: ignore[arg-type]
    return dice_samples(data_set(folder, labels), SliceReader(folder, cache_megabytes=0), models, slices=slices)


def test_expected_and_true_dice_by_hand(tmp_path: Path) -> None:
    """Four slices of 2 x 4 pixels, half of each segmented. True is the upper half of these: 2 x 8 / (16 + 8).

    Expected are 0.5 and 0.25 in turn, of as many pixels: 0.375. Of organs that were not found nothing is said.
    """
    labels = np.zeros((4, 2, 4), np.uint8)
    labels[:, 0, :2] = 1
    labels[:, 0, 3] = 2
    found = samples_of(tmp_path, labels, slices=8)
    assert found.said == pytest.approx(np.array([[0.375, np.nan, np.nan]]), nan_ok=True)
    assert found.true == pytest.approx(np.array([[2 / 3, np.nan, np.nan]]), nan_ok=True)
    assert found.calibration.middle[0] == pytest.approx(2 / 3 - 0.375, abs=1e-6)
    assert found.figures() == {}, "of one volume nobody can say"


def test_figures_of_each_volume_are_from_the_others() -> None:
    """Three volumes of one organ: 0.5, 0.5 and 0.6 were said, 0.6, 0.7 and 0.9 are true, and so 0.1, 0.2 and 0.3 more.

    By the others 0.25, 0.2 and 0.15 more are expected; by their mean true Dice 0.8, 0.75 and 0.65.
    """
    samples = DiceSamples(np.array([[0.5], [0.5], [0.6]]), np.array([[0.6], [0.7], [0.9]]))
    figures = samples.figures()
    assert figures["expected_dice_error"] == pytest.approx((0.15 + 0 + 0.15) / 3, abs=1e-6)
    assert figures["expected_dice_error_of_the_mean"] == pytest.approx((0.2 + 0.05 + 0.25) / 3, abs=1e-6)
    assert (figures["expected_dice_coverage"], figures["expected_dice_width"]) == (1.0, 1.0)


def test_pixels_that_nobody_labelled_count_on_neither_side(tmp_path: Path) -> None:
    """Of four slices the odd ones, of which 0.25 is expected, were not looked at: 0.5 is said, of what was."""
    labels = np.zeros((4, 2, 4), np.uint8)
    labels[:, :, :2] = 1
    labels[1::2] = NOT_LABELLED
    found = samples_of(tmp_path, labels, slices=8)
    assert (found.said[0, 0], found.true[0, 0]) == (0.5, 1.0)


def test_every_other_slice_stands_for_both(tmp_path: Path) -> None:
    """Of 12 slices at most 6 are looked at, the even ones: labels of the odd ones count for nothing."""
    labels = np.zeros((12, 2, 4), np.uint8)
    labels[::2, :, :2] = 1
    assert samples_of(tmp_path, labels, slices=6).true[0, 0] == 1.0


def test_an_organ_that_is_nowhere_has_no_figures() -> None:
    """Where the Student finds nothing there is no error, no coverage, and no bound."""
    empty = DiceSamples(np.full((2, 3), np.nan), np.full((2, 3), np.nan))
    assert empty.figures() == {}
    assert empty.calibration.lower == (-1.0,) * 3
