"""How far the Dice that the exported models expect of organs is from the true one, on volumes that taught neither."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scans.measures.metrics import OrganCounts
from scans.model.expected_dice import DiceCalibration, ExpectedDice
from scans.model.judgement import Judgement
from scans.organs import BACKGROUND, NOT_LABELLED
from training.data.prepared import Catalogue, SliceReader, VolumeRecord
from training.export.seen import ExportedModels
from training.progress import track

MOST_SLICES = 128
"""Of a volume, evenly chosen; of longer ones the differences are those of so many slices, rather larger than of all."""
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
        """How good the expectations of each volume are that the other volumes give; 0..1, none where they give none.

        `error`: mean difference of expected and true Dice. `error_of_the_mean`: were of each organ its mean true Dice
        in the others expected. `coverage`: how often the true Dice is within the bounds; `width` of these, in the mean.
        """
        expected: list[tuple[ExpectedDice, float, float]] = []
        for volume in range(len(self.said) if len(self.said) > 1 else 0):
            others = np.arange(len(self.said)) != volume
            calibration = DiceCalibration.of(self.said[others], self.true[others])
            for organ in np.flatnonzero(~np.isnan(self.said[volume])):
                known = self.true[others, organ][~np.isnan(self.true[others, organ])]
                if known.size:
                    said = calibration.expected(int(organ) + 1, float(self.said[volume, organ]))
                    expected.append((said, float(self.true[volume, organ]), float(known.mean())))
        if not expected:
            return {}
        figures: dict[str, list[float]] = {
            "error": [abs(said.dice - true) for said, true, _ in expected],
            "error_of_the_mean": [abs(mean - true) for _, true, mean in expected],
            "coverage": [float(said.holds(true)) for said, true, _ in expected],
            "width": [said.high - said.low for said, _, _ in expected],
        }
        return {f"expected_dice_{name}": float(np.mean(values)) for name, values in figures.items()}


def dice_samples(
    catalogue: Catalogue, reader: SliceReader, models: ExportedModels, *, slices: int = MOST_SLICES
) -> DiceSamples:
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
    chosen = range(0, record.shape[0], -(-record.shape[0] // slices))
    none = np.zeros(organs, dtype=np.int64)
    judgement, counts = Judgement.empty(organs), OrganCounts(none, none, none)
    for first in range(0, len(chosen), _BATCH_SLICES):
        indices = chosen[first : first + _BATCH_SLICES]
        grey = np.stack([reader.image(record.id, index) for index in indices])
        truth = np.stack([reader.labels(record.id, index) for index in indices])
        segmentation = models.segmenter.segment(grey, record.window)
        verdicts = models.verdicts(grey, segmentation, record.window)
        labelled = np.where(truth == NOT_LABELLED, np.uint8(BACKGROUND), segmentation)
        judgement += Judgement.of_quality(labelled, verdicts, organs=organs)
        counts += OrganCounts.of(segmentation, truth, classes=organs + 1)
    return judgement, counts
