"""export: Student and Quality Classifier as ONNX files with manifests, compared with torch on real slices."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from scans.model.drift import Seen
from scans.model.expected_dice import DiceCalibration
from scans.model.manifest import MODEL_FILE, Golden, Kind, ModelManifest, Variant, file_sha256
from scans.precision import Precision
from scans.reviews import ReviewTally
from training.command import run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader
from training.export.agreement import ExportAgreement, compare_quality, compare_segmentation, spread_slices
from training.export.expected_dice import dice_samples
from training.export.files import write_onnx
from training.export.golden import golden_slice
from training.export.graph import QualityModel, SegmentationModel
from training.export.onnx_session import OnnxModel
from training.export.precision import VARIANTS_DIR, Checked, write_variants
from training.export.seen import ExportedModels, seen_volumes
from training.learning.checkpoints import (
    QUALITY_CLASSIFIER,
    STUDENT,
    load_classifier,
    load_classifier_architecture,
    load_network,
)
from training.params import Export, Params
from training.quality.classifier_input import scorer
from training.run_stage import Report, metrics_file, run_stage
from training.stage_files import read_json, stage_file
from training.tracking.provenance import git_state
from training.tracking.runs import StageRun

EVALUATION_FILE = metrics_file("evaluate")
CLASSIFIER_FILE = metrics_file("train_classifier")
REFINE_FILE = metrics_file("refine")


def main() -> None:
    """Runs the stage in the repository root."""
    run_stage("export", _export)


def _export(params: Params, run: StageRun) -> Report:
    metrics = export(params.export, threshold=params.refine.threshold, mlflow_run=run.run_id)
    of_models = {f"{model}.{name}": value for model, of_model in metrics.items() for name, value in of_model.items()}
    return Report(metrics, of_models)


@dataclass(frozen=True)
class Exported:
    """A model.onnx that has been compared with torch, and what its manifest says of it alone."""

    path: Path
    name: str
    kind: Kind
    agreement: ExportAgreement
    golden: Golden
    metrics: Mapping[str, float]
    threshold: float | None = None
    expected_dice: DiceCalibration | None = None
    variants: Mapping[Precision, Variant] = field(default_factory=dict)
    seen: Seen | None = None

    def manifest(self, catalogue: Catalogue, *, mlflow_run: str) -> ModelManifest:
        """All that a server must know of the model."""
        seen = catalogue.split("train") + catalogue.split("unlabelled")
        least = [min(values) for values in zip(*(record.spacing for record in seen), strict=True)]
        greatest = [max(values) for values in zip(*(record.spacing for record in seen), strict=True)]
        z, y, x = zip(least, greatest, strict=True)
        git = git_state()
        return ModelManifest(
            name=self.name,
            kind=self.kind,
            organs=catalogue.organs,
            intensity=catalogue.intensity,
            model_sha256=file_sha256(self.path),
            data_sha256=catalogue.data_sha256,
            data_set=catalogue.data_set,
            spacing_mm=(z, y, x),
            intensity_range=(min(r.window.lower for r in seen), max(r.window.upper for r in seen)),
            golden=self.golden,
            metrics=self.metrics,
            agreement={name: float(value) for name, value in asdict(self.agreement).items()},
            threshold=self.threshold,
            expected_dice=self.expected_dice,
            variants=self.variants,
            seen=self.seen,
            corrections=catalogue.corrections,
            reviews=_reviews(),
            git_commit=git.commit,
            git_dirty=git.dirty,
            mlflow_run=mlflow_run,
        )


def export(section: Export, *, threshold: float, mlflow_run: str = "") -> dict[str, dict[str, float]]:
    """Writes model.onnx and manifest.json of both models; returns, per model, how it compares with torch.

    Reads and writes where the pipeline keeps things in the working directory. Nothing is given its name before both
    models have been compared. Raises ExportError, which names the slice, where ONNX and torch disagree.
    """
    catalogue = Catalogue.read(PREPARED_DIR)
    with TemporaryDirectory(dir=STUDENT.parent.parent, prefix=".export-") as temporary:
        student = _export_student(section, catalogue, folder=Path(temporary) / "student")
        classifier = _export_classifier(
            section, catalogue, folder=Path(temporary) / "quality_classifier", student=student, threshold=threshold
        )
        variants, checks = write_variants(
            student.path.parent,
            section,
            catalogue=catalogue,
            reader=SliceReader(PREPARED_DIR, cache_megabytes=0),
            golden=student.golden,
        )
        models = ExportedModels(OnnxModel(student.path), OnnxModel(classifier.path), threshold)
        reader = SliceReader(PREPARED_DIR, cache_megabytes=0)
        seen = seen_volumes(catalogue, reader, models, slices=section.seen_slices)
        student = replace(student, variants=variants, seen=seen)
        expected: dict[str, float] = {}
        if "dice" in models.classifier.outputs:
            samples = dice_samples(catalogue, reader, models)
            expected, classifier = samples.figures(), replace(classifier, expected_dice=samples.calibration)
        for exported, checkpoint in ((student, STUDENT), (classifier, QUALITY_CLASSIFIER)):
            written = exported.manifest(catalogue, mlflow_run=mlflow_run).write(exported.path.parent)
            for file in (exported.path, written):
                file.replace(checkpoint.parent / file.name)
        shutil.rmtree(STUDENT.parent / VARIANTS_DIR, ignore_errors=True)
        (student.path.parent / VARIANTS_DIR).rename(STUDENT.parent / VARIANTS_DIR)
    _report(checks)
    return {
        "student": asdict(student.agreement),
        "quality_classifier": {**asdict(classifier.agreement), **expected},
        **{check.precision: _numbers(asdict(check)) | {"kept": float(check.kept)} for check in checks},
    }


def _report(checks: Sequence[Checked]) -> None:
    for check in checks:
        verdict = "kept" if check.kept else "NOT kept"
        Console().print(
            f"{check.precision}: mean Dice {check.mean_dice:.4f}, float32 {check.float32_mean_dice:.4f}, worst organ "
            f"{-check.worst_organ_loss:+.4f}, {check.disagreement:.2%} of the pixels differ: {verdict}",
            highlight=False,
        )


def _export_student(section: Export, catalogue: Catalogue, *, folder: Path) -> Exported:
    reader = SliceReader(PREPARED_DIR, cache_megabytes=0)
    network, path = load_network(STUDENT), folder / MODEL_FILE
    write_onnx(path, SegmentationModel(network))
    segmenter = OnnxModel(path)
    slices = spread_slices(catalogue, section.agreement_slices)
    agreement = compare_segmentation(segmenter, network, slices=slices, reader=reader, limit=section.most_disagreement)
    return Exported(
        path=path,
        name=section.name,
        kind="segmentation",
        agreement=agreement,
        golden=golden_slice(catalogue, reader, segmenter),
        metrics=_student_metrics(),
    )


def _export_classifier(
    section: Export, catalogue: Catalogue, *, folder: Path, student: Exported, threshold: float
) -> Exported:
    reader = SliceReader(PREPARED_DIR, cache_megabytes=0)
    network, path = load_classifier(QUALITY_CLASSIFIER), folder / MODEL_FILE
    architecture = load_classifier_architecture(QUALITY_CLASSIFIER)
    organs, side = architecture.organs, architecture.side
    expects_dice = architecture.expects_dice
    write_onnx(path, QualityModel(network, organs=organs, side=side, expects_dice=expects_dice))
    judge = OnnxModel(path)
    agreement = compare_quality(
        judge,
        scorer(network, organs=organs, side=side),
        segmenter=OnnxModel(student.path),
        slices=spread_slices(catalogue, section.agreement_slices),
        reader=reader,
    )
    golden = student.golden
    good = float(judge.verdicts(golden.slice[None], golden.segmentation[None], golden.window).good[0])
    return Exported(
        path=path,
        name=f"{section.name}-quality",
        kind="quality",
        agreement=agreement,
        golden=replace(golden, good=good),
        metrics=_numbers(read_json(CLASSIFIER_FILE)),
        threshold=threshold,
    )


def _reviews() -> ReviewTally | None:
    """What was learnt from of what people had said, as refine counted it. Raises StageFileError."""
    with stage_file(REFINE_FILE):
        said = read_json(REFINE_FILE).get("reviews")
        return None if said is None else ReviewTally.from_dict(said)


def _student_metrics() -> dict[str, float]:
    """The Student's, and beside them the control's, whose names begin with `control.`. Raises StageFileError."""
    with stage_file(EVALUATION_FILE):
        evaluation = read_json(EVALUATION_FILE)
        control = {f"control.{name}": value for name, value in _network_metrics(evaluation["control"]).items()}
        return {**_network_metrics(evaluation["student"]), **control}


def _network_metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    """mean_dice, mean_iou, and dice.ORGAN and iou.ORGAN of every organ that could be scored."""
    organs = {
        f"{figure}.{organ}": value[figure] for organ, value in scores["organs"].items() for figure in ("dice", "iou")
    }
    return _numbers({"mean_dice": scores["mean_dice"], "mean_iou": scores["mean_iou"], **organs})


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


if __name__ == "__main__":
    run_command("export", main)
