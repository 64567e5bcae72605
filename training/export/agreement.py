"""Whether an exported model gives what torch gives, on real slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.data.prepared import Catalogue, SliceReader, VolumeRecord
from training.export.onnx_session import OnnxModel
from training.learning.prediction import predictor
from training.progress import track
from training.quality.classifier_input import Scorer

MOST_PROBABILITY_DIFFERENCE = 1e-3
"""Between what the Quality Classifier says as ONNX and in torch."""
ODD_SHAPES = ((1, 37, 53), (3, 100, 61), (2, 161, 224))
"""Slices, height and width of batches that are compared besides whole slices; no network was traced with one."""


class ExportError(RuntimeError):
    """ONNX and torch disagree; the message names the slice and by how much."""


@dataclass(frozen=True)
class RealSlice:
    """A slice of a prepared volume."""

    record: VolumeRecord
    slice_index: int

    def __str__(self) -> str:
        return f"slice {self.slice_index} of volume {self.record.id}"


@dataclass(frozen=True)
class ExportAgreement:
    """What was compared, and the worst that was found."""

    slices: int
    """Whole slices, one by one."""
    odd_batches: int
    """Batches of other sizes than the network was traced with."""
    identical: int
    """Whole slices with no difference at all."""
    largest_difference: float
    """Segmentation: the largest share of a slice's pixels that differ. Quality: of the probability."""


def spread_slices(catalogue: Catalogue, count: int) -> tuple[RealSlice, ...]:
    """`count` slices evenly spread over the validation and unlabelled volumes; all of them where there are fewer.

    Raises ExportError if there is no such volume.
    """
    records = catalogue.split("validation") + catalogue.split("unlabelled")
    every = [RealSlice(record, index) for record in records for index in range(record.shape[0])]
    if not every:
        raise ExportError("there is neither a validation nor an unlabelled volume to compare ONNX with torch on")
    chosen = np.linspace(0, len(every) - 1, num=min(count, len(every))).round().astype(int)
    return tuple(every[position] for position in chosen)


def compare_segmentation(
    exported: OnnxModel, network: nn.Module, *, slices: Sequence[RealSlice], reader: SliceReader, limit: float
) -> ExportAgreement:
    """Compares class indices, slice by slice and in batches of odd sizes.

    torch normalises with `scans.intensity`, as training and evaluation did; the exported model does so itself. Raises
    ExportError where more than `limit` (0..1) of a slice's pixels differ.
    """
    shares = []
    for chosen in track(slices, description="Compare with torch", total=len(slices), unit="slice"):
        image = reader.image(chosen.record.id, chosen.slice_index)[None]
        shares.append(_share_that_differs(exported, network, chosen, image=image, limit=limit))
    for shape in ODD_SHAPES:
        image = _batch(slices, reader, shape)
        _share_that_differs(exported, network, slices[0], image=image, limit=limit)
    return ExportAgreement(len(shares), len(ODD_SHAPES), sum(share == 0 for share in shares), max(shares))


def _share_that_differs(
    exported: OnnxModel, network: nn.Module, of: RealSlice, *, image: NDArray[Any], limit: float
) -> float:
    """The largest share of the pixels of a slice of `image` (N, Y, X)."""
    window = of.record.window
    expected = predictor(network, window=window, device=torch.device("cpu"))(image)
    share = float((exported.segment(image, window) != expected).mean(axis=(1, 2)).max())
    if share > limit:
        raise ExportError(
            f"{of}, as {image.shape}: ONNX and torch differ in {share:.3%} of the pixels; "
            f"export.most_disagreement allows {limit:.3%}"
        )
    return share


def compare_quality(
    exported: OnnxModel, score: Scorer, *, segmenter: OnnxModel, slices: Sequence[RealSlice], reader: SliceReader
) -> ExportAgreement:
    """Compares what both say of the exported Student's segmentations: the probability of good, and the Dice of organs.

    Raises ExportError where they differ by more than MOST_PROBABILITY_DIFFERENCE.
    """
    differences = []
    for chosen in track(slices, description="Compare the classifier", total=len(slices), unit="slice"):
        image, window = reader.image(chosen.record.id, chosen.slice_index)[None], chosen.record.window
        segmentation = segmenter.segment(image, window)
        expected, said = (ask(image, segmentation, window) for ask in (score, exported.verdicts))
        pairs = [(a, b) for a, b in zip(expected, said, strict=True) if a is not None and b is not None]
        difference = max(float(np.abs(a - b).max()) for a, b in pairs)
        if difference > MOST_PROBABILITY_DIFFERENCE:
            raise ExportError(
                f"{chosen}: the Quality Classifier says {float(expected.good[0]):.4f} in torch, and {difference:.4f} "
                f"more or less as ONNX, of the slice or an organ; {MOST_PROBABILITY_DIFFERENCE:g} is allowed"
            )
        differences.append(difference)
    return ExportAgreement(len(differences), 0, sum(value == 0 for value in differences), max(differences))


def _batch(slices: Sequence[RealSlice], reader: SliceReader, shape: tuple[int, int, int]) -> NDArray[Any]:
    """(N, Y, X) grey values of real slices, cut, or repeated where a slice is smaller."""
    count, height, width = shape
    record = slices[0].record
    middle = record.shape[0] // 2
    images = [reader.image(record.id, (middle + step) % record.shape[0]) for step in range(count)]
    _, rows, columns = record.shape
    missing = ((0, 0), (0, max(0, height - rows)), (0, max(0, width - columns)))
    return np.pad(np.stack(images), missing, mode="symmetric")[:, :height, :width]
