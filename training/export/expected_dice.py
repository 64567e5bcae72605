"""How far the Dice that the exported models expect of organs is from the true one, on volumes that taught neither."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scans.measures.metrics import OrganCounts
from scans.model.expected_dice import DiceCalibration, left_out_coverage
from scans.model.judgement import Judgement, judged_pixels
from training.data.prepared import Catalogue, SliceReader, VolumeRecord
from training.export.seen import ExportedModels
from training.progress import track

_BATCH_SLICES = 8


@dataclass(frozen=True, eq=False)
class DiceSamples:
    """Of the validation volumes; both float64 (volumes, organs), NaN where the Student did not find an organ."""

    said: NDArray[np.float64]
    """Mean over slices of the Dice that the classifier expects, weighted by the organ's voxels."""
    true: NDArray[np.float64]

    @property
    def calibration(self) -> DiceCalibration:
        """What turns the one into the other."""
        return DiceCalibration.of(self.said, self.true)

    def figures(self) -> dict[str, float]:
        """How good the expectations are, without those that there cannot be; 0..1.

        `error`: mean difference of expected and true Dice. `error_of_the_mean`: were the mean true Dice expected of
        every organ. `coverage`: how often bounds from the other volumes hold a volume's true Dice; `width` of all
        bounds, in the mean.
        """
        known = ~np.isnan(self.said)
        if not known.any():
            return {}
        calibration, true = self.calibration, self.true[known]
        organs = np.broadcast_to(np.arange(self.said.shape[1]) + 1, self.said.shape)[known]
        expected = [calibration.expected(int(k), float(said)) for k, said in zip(organs, self.said[known], strict=True)]
        coverage = left_out_coverage(self.said, self.true)
        return {
            "expected_dice_error": float(np.abs(np.array([e.dice for e in expected]) - true).mean()),
            "expected_dice_error_of_the_mean": float(np.abs(true - true.mean()).mean()),
            "expected_dice_width": float(np.mean([e.high - e.low for e in expected])),
            **({} if coverage is None else {"expected_dice_coverage": coverage}),
        }


def dice_samples(catalogue: Catalogue, reader: SliceReader, models: ExportedModels, *, slices: int) -> DiceSamples:
    """Asks the models about an even choice of at most `slices` of each validation volume."""
    records = catalogue.split("validation")
    organs = len(catalogue.organs)
    said, true = np.full((2, len(records), organs), np.nan)
    for row, record in enumerate(track(records, description="Expected Dice", total=len(records), unit="volume")):
        judgement, counts = _judged(record, reader, models, slices=slices, organs=organs)
        for organ, (quality, dice) in enumerate(zip(judgement.of_organs(), counts.dice, strict=True)):
            if quality.dice is not None and dice is not None:
                said[row, organ], true[row, organ] = quality.dice, dice
    return DiceSamples(said, true)


def _judged(
    record: VolumeRecord, reader: SliceReader, models: ExportedModels, *, slices: int, organs: int
) -> tuple[Judgement, OrganCounts]:
    """What is said of the Student's segmentation, and how it compares with the labels."""
    depth, height, width = record.shape
    chosen = range(0, depth, -(-depth // slices))
    rows, columns = judged_pixels(height, width)
    none = np.zeros(organs, dtype=np.int64)
    judgement, counts = Judgement.empty(organs), OrganCounts(none, none, none)
    for first in range(0, len(chosen), _BATCH_SLICES):
        indices = chosen[first : first + _BATCH_SLICES]
        grey = np.stack([reader.image(record.id, index) for index in indices])
        truth = np.stack([reader.labels(record.id, index) for index in indices])
        segmentation = models.segmenter.segment(grey, record.window)
        shown = (grey[:, rows, columns], segmentation[:, rows, columns])
        verdicts = models.classifier.verdicts(*shown, record.window)
        judgement += Judgement.of_quality(segmentation, verdicts, organs=organs)
        counts += OrganCounts.of(segmentation, truth, classes=organs + 1)
    return judgement, counts
