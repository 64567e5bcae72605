"""evaluate: Teacher, control and Student on the validation volumes, in numbers and pictures (section 3.3)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from scans.intensity import Window
from scans.tiling import Forward, segment
from scans.volume import ArrayVoxels, Volume
from training.command import StageError, run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import PseudoLabelReader, PseudoLabelWriter
from training.evaluation.differences import differences
from training.evaluation.figure_slices import overlay_rows
from training.evaluation.figures import OrganBars, draw_curves, draw_organs, draw_overlays, draw_roc
from training.evaluation.headline import headline, write_headline
from training.evaluation.report import flat_figures, network_report, write_organs
from training.evaluation.scoring import ScoredVolume, score
from training.evaluation.tables import evaluation_tables
from training.learning.checkpoints import CONTROL, STUDENT, TEACHER, load_network
from training.learning.prediction import predictor
from training.params import Evaluate, Params
from training.progress import track
from training.run_stage import Report, metrics_file, run_stage
from training.stage_files import read_json
from training.tracking.runs import StageRun

METRICS = metrics_file("evaluate")
ORGANS = Path("plots/organs.csv")
FIGURES_DIR = Path("figures")
NETWORKS = {"teacher": TEACHER, "control": CONTROL, "student": STUDENT}
"""What is scored, in this order wherever they stand beside each other."""
CLASSIFIER_METRICS = metrics_file("train_classifier")
CLASSIFIER_ROC = Path("plots/classifier_roc.csv")
HISTORIES = {
    "Teacher": Path("plots/train_teacher.csv"),
    "Quality Classifier": Path("plots/train_classifier.csv"),
    "Control": Path("plots/train_control.csv"),
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
            {name: _segmenter(checkpoint) for name, checkpoint in NETWORKS.items()},
            catalogue,
            params.evaluate,
            prepared_dir=PREPARED_DIR,
            output_dir=segmentations,
        )
        rows = overlay_rows(
            catalogue, tuple(scores), segmentations, prepared_dir=PREPARED_DIR, count=params.evaluate.figure_slices
        )
        draw_overlays(FIGURES_DIR / "overlays.png", rows, catalogue.organs)
    networks = {name: network_report(of_network, catalogue.organs) for name, of_network in scores.items()}
    write_organs(ORGANS, networks)
    _draw(networks)
    figures = headline(networks, read_json(CLASSIFIER_METRICS))
    write_headline(figures)
    run.headline(figures)
    found = differences(networks, seed=params.seed)
    Console().print(*evaluation_tables(networks, found))
    flat = {f"{name}.{key}": value for name in networks for key, value in flat_figures(networks[name]).items()}
    said = {pair: {figure: one.to_dict() for figure, one in of_pair.items()} for pair, of_pair in found.items()}
    return Report({**networks, "differences": said}, flat, files=(METRICS, ORGANS, FIGURES_DIR))


def _segmenter(checkpoint: Path) -> Segmenter:
    network = load_network(checkpoint)
    return lambda window: predictor(network, window=window)


def evaluate(
    networks: Mapping[str, Segmenter],
    catalogue: Catalogue,
    section: Evaluate,
    *,
    prepared_dir: Path,
    output_dir: Path,
) -> dict[str, tuple[ScoredVolume, ...]]:
    """Segments every validation volume with every network into `output_dir/NAME/ID.zarr`, and scores it.

    Raises StageError where there is no validation volume.
    """
    records = catalogue.split("validation")
    if not records:
        raise StageError(f"{prepared_dir} holds no validation volume: there is nothing to measure the networks on")
    reader = SliceReader(prepared_dir, cache_megabytes=0)

    def all_scored() -> Iterator[tuple[str, ScoredVolume]]:
        for name, segmenter in networks.items():
            for record in records:
                prediction = _segmented(
                    record, segmenter, reader=reader, output_dir=output_dir / name, batch_size=section.batch_size
                )
                truth = reader.label_volume(record)
                scored = score(
                    record,
                    prediction=prediction,
                    truth=truth,
                    organs=catalogue.organs,
                    tolerance_mm=section.surface_tolerance_mm or None,
                )
                yield name, scored

    scores: dict[str, list[ScoredVolume]] = {name: [] for name in networks}
    for name, of_volume in track(
        all_scored(), description="Evaluate", total=len(networks) * len(records), unit="volume"
    ):
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
    classifier = read_json(CLASSIFIER_METRICS)
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


if __name__ == "__main__":
    run_command("evaluate", main)
