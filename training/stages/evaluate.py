"""evaluate: Teacher and Student on the validation volumes, in numbers and pictures (section 3.3 of the paper)."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from scans.intensity import Window
from scans.measures.metrics import summarise
from scans.organs import OrganMap
from scans.tiling import Forward, segment
from scans.volume import ArrayVoxels, Volume
from training.command import StageError, run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import PseudoLabelReader, PseudoLabelWriter
from training.evaluation.figure_slices import overlay_rows
from training.evaluation.figures import OrganBars, draw_curves, draw_organs, draw_overlays, draw_roc
from training.evaluation.headline import headline, write_headline
from training.evaluation.scoring import ScoredVolume, score
from training.learning.checkpoints import STUDENT, TEACHER, load_network
from training.learning.prediction import predictor
from training.params import Params
from training.progress import track
from training.run_stage import Report, metrics_file, run_stage
from training.tracking.runs import StageRun

METRICS = metrics_file("evaluate")
ORGANS = Path("plots/organs.csv")
FIGURES_DIR = Path("figures")
CLASSIFIER_METRICS = metrics_file("train_classifier")
CLASSIFIER_ROC = Path("plots/classifier_roc.csv")
HISTORIES = {
    "Teacher": Path("plots/train_teacher.csv"),
    "Quality Classifier": Path("plots/train_classifier.csv"),
    "Student": Path("plots/train_student.csv"),
}

Segmenter = Callable[[Window], Forward]
"""A network as a function of raw slices, given the window of the volume that they are from."""


def main() -> None:
    """Runs the stage in the repository root."""
    run_stage("evaluate", _evaluate)


def _evaluate(params: Params, run: StageRun) -> Report:
    catalogue = Catalogue.read()
    with tempfile.TemporaryDirectory() as folder:
        segmentations = Path(folder)
        scores = evaluate(
            {"teacher": _segmenter(TEACHER), "student": _segmenter(STUDENT)},
            catalogue,
            prepared_dir=PREPARED_DIR,
            output_dir=segmentations,
            batch_size=params.evaluate.batch_size,
        )
        rows = overlay_rows(
            catalogue, tuple(scores), segmentations, prepared_dir=PREPARED_DIR, count=params.evaluate.figure_slices
        )
        draw_overlays(FIGURES_DIR / "overlays.png", rows, catalogue.organs)
    metrics = {name: summary(of_network, catalogue.organs) for name, of_network in scores.items()}
    write_organs(metrics)
    _draw(metrics)
    figures = headline(metrics, json.loads(CLASSIFIER_METRICS.read_text(encoding="utf-8")))
    write_headline(figures)
    run.headline(figures)
    Console().print(table(metrics))
    flat = {f"{name}.{key}": value for name in metrics for key, value in _flat(metrics[name]).items()}
    return Report(metrics, flat, files=(METRICS, ORGANS, FIGURES_DIR))


def _segmenter(checkpoint: Path) -> Segmenter:
    network = load_network(checkpoint)
    return lambda window: predictor(network, window=window)


def evaluate(
    networks: Mapping[str, Segmenter], catalogue: Catalogue, *, prepared_dir: Path, output_dir: Path, batch_size: int
) -> dict[str, tuple[ScoredVolume, ...]]:
    """Segments every validation volume with every network into `output_dir/NAME/ID.zarr`, and scores it.

    Raises StageError where there is no validation volume.
    """
    records = catalogue.split("validation")
    if not records:
        raise StageError(f"{prepared_dir} holds no validation volume: there is nothing to measure the networks on")
    reader = SliceReader(prepared_dir, cache_megabytes=0)

    def scored() -> Iterator[tuple[str, ScoredVolume]]:
        for name, segmenter in networks.items():
            for record in records:
                prediction = _segmented(
                    record, segmenter, reader=reader, output_dir=output_dir / name, batch_size=batch_size
                )
                truth = reader.label_volume(record)
                yield name, score(record, prediction=prediction, truth=truth, organs=catalogue.organs)

    scores: dict[str, list[ScoredVolume]] = {name: [] for name in networks}
    for name, of_volume in track(scored(), description="Evaluate", total=len(networks) * len(records), unit="volume"):
        scores[name].append(of_volume)
    return {name: tuple(of_network) for name, of_network in scores.items()}


def _segmented(
    record: VolumeRecord, segmenter: Segmenter, *, reader: SliceReader, output_dir: Path, batch_size: int
) -> Volume:
    volume, forward = reader.volume(record), segmenter(record.window)
    slab_slices = shard_slices(record.shape, np.dtype(np.uint8))
    with PseudoLabelWriter(output_dir, record.id, record.shape) as writer:
        for box, labels in segment(volume, forward, slab_slices=slab_slices, batch_size=batch_size):
            writer.write(box, labels)
    return Volume(ArrayVoxels(PseudoLabelReader(output_dir).array(record.id)), record.frame)


def summary(scores: Sequence[ScoredVolume], organs: OrganMap) -> dict[str, Any]:
    """One network's part of metrics/evaluate.json: means, every organ, every volume, every experiment."""
    experiments = sorted({of_volume.experiment for of_volume in scores})
    return {
        **summarise([of_volume.scores for of_volume in scores], organs).to_dict(),
        "volumes": {of_volume.scores.volume_id: _of_volume(of_volume) for of_volume in scores},
        "by_experiment": {
            experiment: summarise([s.scores for s in scores if s.experiment == experiment], organs).to_dict()
            for experiment in experiments
        },
    }


def _of_volume(of_volume: ScoredVolume) -> dict[str, Any]:
    return {
        "experiment": of_volume.experiment,
        "organs": {
            name: {
                "dice": of_volume.scores.dice[name],
                "iou": of_volume.scores.iou[name],
                "hd95_mm": distances.hd95_mm,
                "assd_mm": distances.assd_mm,
            }
            for name, distances in of_volume.distances.items()
        },
    }


def mean_over_volumes(report: Mapping[str, Any], organ: str, figure: str) -> float | None:
    """Mean of one figure of one organ over the volumes that have it; None where none has."""
    values = [volume["organs"][organ][figure] for volume in report["volumes"].values()]
    scored = [value for value in values if value is not None]
    return float(np.mean(scored)) if scored else None


def _flat(report: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one network that MLflow gets: means, and Dice and IoU of each organ that has them."""
    flat = {"mean_dice": report["mean_dice"], "mean_iou": report["mean_iou"]}
    for organ, figures in report["organs"].items():
        flat |= {f"{figure}.{organ}": figures[figure] for figure in ("dice", "iou") if figures[figure] is not None}
    return flat


def write_organs(report: Mapping[str, Any]) -> None:
    """Writes plots/organs.csv, where a figure that there is none of is empty."""
    ORGANS.parent.mkdir(parents=True, exist_ok=True)
    with ORGANS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        figures = ("dice", "iou", "hd95_mm", "assd_mm")
        writer.writerow(("network", "organ", *figures, "left_out"))
        for name, of_network in report.items():
            for organ, found in of_network["organs"].items():
                means = (mean_over_volumes(of_network, organ, figure) for figure in figures)
                values = ("" if mean is None else round(mean, 6) for mean in means)
                writer.writerow((name, organ, *values, found["left_out"]))


def _draw(report: Mapping[str, Any]) -> None:
    draw_organs(
        FIGURES_DIR / "organs.png",
        {
            name: OrganBars(
                title=name.capitalize(),
                dice={organ: found["dice"] for organ, found in of_network["organs"].items()},
                mean_dice=of_network["mean_dice"],
                volumes={organ: _each(of_network, organ) for organ in of_network["organs"]},
            )
            for name, of_network in report.items()
        },
        left_out={organ: found["left_out"] for organ, found in report["student"]["organs"].items()},
    )
    draw_curves(FIGURES_DIR / "curves.png", HISTORIES)
    classifier = json.loads(CLASSIFIER_METRICS.read_text(encoding="utf-8"))
    draw_roc(
        FIGURES_DIR / "classifier_roc.png",
        CLASSIFIER_ROC,
        threshold=classifier["threshold"],
        auc=classifier["auc"],
        missing=classifier["auc_missing"],
    )


def _each(of_network: Mapping[str, Any], organ: str) -> tuple[float, ...]:
    values = (volume["organs"][organ]["dice"] for volume in of_network["volumes"].values())
    return tuple(value for value in values if value is not None)


def table(report: Mapping[str, Any]) -> Table:
    """Teacher and Student per organ, as the terminal shows them."""
    volumes = len(report["student"]["volumes"])
    drawn = Table(title=f"Mean over {volumes} validation volumes", title_justify="left", box=SIMPLE_HEAD, padding=0)
    drawn.add_column("organ", no_wrap=True)
    for figure in ("Dice", "IoU", "HD95 mm"):
        for name in report:
            drawn.add_column(f"{figure}\n{name.capitalize()}", justify="right")
    drawn.add_column("absent\nfrom", justify="right")
    for organ in report["student"]["organs"]:
        drawn.add_row(organ, *_cells(report, organ))
    drawn.add_section()
    means = (f"{report[name][mean]:.3f}" for mean in ("mean_dice", "mean_iou") for name in report)
    drawn.add_row("mean", *means, *("" for _ in report), "", style="bold")
    return drawn


def _cells(report: Mapping[str, Any], organ: str) -> Iterator[str]:
    for figure, form in (("dice", "{:.3f}"), ("iou", "{:.3f}"), ("hd95_mm", "{:.3g}")):
        for of_network in report.values():
            mean = mean_over_volumes(of_network, organ, figure)
            yield "none" if mean is None else form.format(mean)
    left_out = dict.fromkeys(str(of_network["organs"][organ]["left_out"]) for of_network in report.values())
    yield ", ".join(left_out)


if __name__ == "__main__":
    run_command("evaluate", main)
