"""Variants of an exported model in fewer bits, each kept only if it segments the validation slices as well.

int8 is for processors: weights and activations of the convolutions, with scales found on training slices. float16 is
for GPUs. Normalisation, argmax and the model's inputs and outputs stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from scans.measures.metrics import OrganCounts, Summary, VolumeScores, summarise
from scans.model.manifest import Golden, Variant, file_sha256
from scans.precision import Precision
from training.command import StageError
from training.data.prepared import Catalogue, SliceReader
from training.export.agreement import RealSlice
from training.export.onnx_session import OnnxModel
from training.params import Export
from training.progress import track

VARIANTS_DIR = "variants"
Feed = Mapping[str, NDArray[np.float32]]
"""The inputs of a model by name."""
_QUANTISED = ["Conv", "ConvTranspose", "Add", "Relu", "MaxPool", "Concat", "Resize"]
"""What networks are made of; the arithmetic around them is left alone."""


@dataclass(frozen=True)
class Checked:
    """A variant against the float32 model, on the same slices."""

    precision: Precision
    mean_dice: float
    float32_mean_dice: float
    worst_organ_loss: float
    """By how much the organ that suffers most lost in Dice; negative where every organ gained."""
    disagreement: float
    """Share of pixels, 0..1, that are of another class than in float32."""
    kept: bool


def write_variants(
    folder: Path, section: Export, *, catalogue: Catalogue, reader: SliceReader, golden: Golden
) -> tuple[dict[Precision, Variant], list[Checked]]:
    """Makes `folder/variants/PRECISION.onnx` from `folder/model.onnx` for each precision that is asked for.

    Gives those that were kept, as the manifest describes them, and how each did. Raises StageError where there is no
    labelled validation slice to check them on.
    """
    (folder / VARIANTS_DIR).mkdir()
    whole = folder / "model.onnx"
    judged = spread_labelled(catalogue, "validation", section.precision_slices)
    calibration = spread_labelled(catalogue, "train", section.calibration_slices)
    variants: dict[Precision, Variant] = {}
    checks = []
    for precision in section.precisions:
        path = folder / VARIANTS_DIR / f"{precision}.onnx"
        _WRITERS[precision](whole, path, calibration, reader)
        checked = _check(precision, whole, path, judged, section=section, catalogue=catalogue, reader=reader)
        checks.append(checked)
        if not checked.kept:
            path.unlink()
            continue
        variants[precision] = Variant(
            file=f"{VARIANTS_DIR}/{path.name}",
            sha256=file_sha256(path),
            mean_dice=checked.mean_dice,
            float32_mean_dice=checked.float32_mean_dice,
            disagreement=checked.disagreement,
            segmentation=OnnxModel(path).segment(golden.slice[np.newaxis], golden.window)[0],
        )
    return variants, checks


def spread_labelled(catalogue: Catalogue, split: Any, count: int) -> tuple[RealSlice, ...]:
    """At most `count` slices, evenly spread over the labelled volumes of a split. Raises StageError without any."""
    every = [
        RealSlice(record, index)
        for record in catalogue.split(split)
        if record.labelled
        for index in range(record.shape[0])
    ]
    if not every:
        raise StageError(f"there is no labelled volume in the split {split}")
    chosen = np.linspace(0, len(every) - 1, num=min(count, len(every))).round().astype(int)
    return tuple(every[position] for position in chosen)


def _check(
    precision: Precision,
    whole: Path,
    path: Path,
    slices: Sequence[RealSlice],
    *,
    section: Export,
    catalogue: Catalogue,
    reader: SliceReader,
) -> Checked:
    exact, smaller = OnnxModel(whole), OnnxModel(path)
    counts: dict[str, tuple[OrganCounts, OrganCounts]] = {}
    differing = pixels = 0
    for one in track(slices, description=f"Check {precision}", total=len(slices), unit="slice"):
        grey = reader.image(one.record.id, one.slice_index)[np.newaxis]
        labels = reader.labels(one.record.id, one.slice_index)[np.newaxis]
        answers = [model.segment(grey, one.record.window) for model in (exact, smaller)]
        first, second = (OrganCounts.of(answer, labels, classes=catalogue.organs.classes) for answer in answers)
        before = counts.get(one.record.id)
        counts[one.record.id] = (before[0] + first, before[1] + second) if before else (first, second)
        differing += int((answers[0] != answers[1]).sum())
        pixels += labels.size
    scores = [
        summarise(
            [VolumeScores.from_counts(name, pair[side], catalogue.organs) for name, pair in counts.items()],
            catalogue.organs,
        )
        for side in (0, 1)
    ]
    loss, worst = scores[0].mean_dice - scores[1].mean_dice, _worst_loss(*scores)
    return Checked(
        precision=precision,
        mean_dice=scores[1].mean_dice,
        float32_mean_dice=scores[0].mean_dice,
        worst_organ_loss=worst,
        disagreement=differing / pixels,
        kept=loss <= section.greatest_precision_loss and worst <= section.greatest_precision_organ_loss,
    )


def _worst_loss(exact: Summary, smaller: Summary) -> float:
    before, after = exact.to_dict()["organs"], smaller.to_dict()["organs"]
    losses = [scores["dice"] - after[organ]["dice"] for organ, scores in before.items() if scores["dice"] is not None]
    return max(losses, default=0.0)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
    """Slices, one at a time, as the model takes them."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        """The next slice; None after the last."""
        return next(self._feeds, None)


def _feeds(slices: Sequence[RealSlice], reader: SliceReader) -> Iterator[Feed]:
    for one in slices:
        grey = reader.image(one.record.id, one.slice_index).astype(np.float32)[np.newaxis]
        window = one.record.window
        yield {"slices": grey, "window": np.array([[window.lower, window.upper]], np.float32)}


def _write_int8(whole: Path, path: Path, calibration: Sequence[RealSlice], reader: SliceReader) -> None:
    write_int8(whole, path, _feeds(calibration, reader))


def write_int8(whole: Path, path: Path, feeds: Iterable[Feed]) -> None:
    """Makes an int8 model of a float32 one, with scales found on what each feed holds: `slices` and their `window`."""
    with TemporaryDirectory(dir=path.parent) as temporary:
        prepared = Path(temporary) / "prepared.onnx"
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            path,
            _Calibration(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )


def _write_float16(whole: Path, path: Path, _calibration: Sequence[RealSlice], _reader: SliceReader) -> None:
    onnx.save(convert_float_to_float16(onnx.load(whole), keep_io_types=True), path)


_WRITERS: Mapping[Precision, Any] = {"int8": _write_int8, "float16": _write_float16}
