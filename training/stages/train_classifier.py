"""train_classifier: the Quality Classifier learns to tell good masks from bad ones (section 2.1 of the paper).

Part of the examples never trains it, and measures it. The classifier that is shipped is the one that was measured: it
is not trained again on all examples, so that its figures are its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scans.intensity import Window
from training.command import run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader
from training.learning.checkpoints import QUALITY_CLASSIFIER, save_checkpoint
from training.learning.loop import Epoch, Plan, steps_per_epoch, train, write_epochs
from training.learning.losses import good_or_bad_loss
from training.learning.networks import ClassifierArchitecture, QualityClassifier, build_classifier
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR, ResumeFile, fingerprint
from training.learning.run_training import run_training
from training.params import Params, TrainClassifier
from training.profiles import to_dict
from training.quality.batches import QualityBatch, QualityBatches, ResizedExamples
from training.quality.examples import EXAMPLES_DIR, Example, MaskReader, read_examples
from training.quality.held_out import HeldOutSplit, hold_out
from training.quality.roc import RocCurve, at_threshold
from training.run_stage import Report, metrics_file

METRICS = metrics_file("train_classifier")
EPOCHS = Path("plots/train_classifier.csv")
ROC = Path("plots/classifier_roc.csv")
FIGURES = ("auc", "precision", "recall", "kept_share", "base_rate")
CACHE_MEGABYTES = 64
"""Decoded slices, of which each is read once and then kept resized."""

log = logging.getLogger(__name__)


def main() -> None:
    """Runs the stage in the repository root."""
    run_training("train_classifier", _train)


def _train(params: Params, ranks: Processes, report: Callable[[Epoch], None]) -> Report:
    learning = Learning.read(params.train_classifier, seed=params.seed)
    metrics = train_classifier(learning, threshold=params.refine.threshold, ranks=ranks, report=report)
    shown = {name: metrics[name] for name in FIGURES if metrics[name] is not None}
    return Report(metrics, shown, files=(METRICS, EPOCHS, ROC))


@dataclass(frozen=True)
class Learning:
    """All that the weights of the classifier depend on."""

    section: TrainClassifier
    catalogue: Catalogue
    split: HeldOutSplit
    seed: int
    prepared_dir: Path
    examples_dir: Path

    @classmethod
    def read(
        cls,
        section: TrainClassifier,
        *,
        seed: int,
        prepared_dir: Path = PREPARED_DIR,
        examples_dir: Path = EXAMPLES_DIR,
    ) -> Learning:
        """With the examples that label_quality wrote. Raises StageError where they cannot be divided."""
        split = hold_out(read_examples(examples_dir), section.held_out_share, seed=seed)
        return cls(section, Catalogue.read(prepared_dir), split, seed, prepared_dir, examples_dir)

    @property
    def architecture(self) -> ClassifierArchitecture:
        """Of the classifier."""
        return ClassifierArchitecture(organs=len(self.catalogue.organs), side=self.section.side)

    @property
    def resume(self) -> ResumeFile:
        """Where the training's state is kept; to be removed when the checkpoint has been written."""
        examples = [asdict(example) for example in self.split.train]
        key = fingerprint(to_dict(self.section), self.seed, self.catalogue.data_sha256, examples, torch.__version__)
        return ResumeFile(RESUME_DIR / "train_classifier.pt", key)

    def resized(self, examples: Sequence[Example]) -> ResizedExamples:
        """Examples as the classifier is shown them."""
        windows: dict[str, Window] = {volume.id: volume.window for volume in self.catalogue.volumes}
        images = SliceReader(self.prepared_dir, cache_megabytes=CACHE_MEGABYTES)
        architecture = self.architecture
        return ResizedExamples(
            examples, images, MaskReader(self.examples_dir), windows, architecture.organs, architecture.side
        )

    def epochs(self, network: QualityClassifier, ranks: Processes) -> Iterator[Epoch]:
        """Trains the classifier in place; yields each epoch when it is over."""
        schedule = self.section.schedule
        batches = QualityBatches(
            resized=self.resized(self.split.train),
            organ_map=self.catalogue.organs,
            augmentation=self.section.augmentation,
            batch_size=schedule.batch_size,
            stage="train_classifier",
            seed=self.seed,
        )
        plan = Plan(
            name="train_classifier",
            schedule=schedule,
            steps_per_epoch=steps_per_epoch(schedule, slices=len(self.split.train)),
            workers=self.section.workers,
            resume=self.resume,
        )
        yield from train(network, batches, _objective, plan=plan, processes=ranks)


def _objective(model: nn.Module, batch: QualityBatch) -> Mapping[str, Tensor]:
    return {"loss": good_or_bad_loss(model(batch.slices, batch.masks), batch.good)}


def train_classifier(
    learning: Learning, *, threshold: float, ranks: Processes, report: Callable[[Epoch], None]
) -> dict[str, Any]:
    """Trains the classifier, measures it on what was held out, and writes checkpoint, epochs and ROC.

    `report` is called with each epoch when it is over; the paths that are written are relative to the working
    directory. Returns its metrics.
    """
    _warn(learning.split)
    torch.manual_seed(learning.seed)
    network = build_classifier(learning.architecture)
    epochs: list[Epoch] = []
    for epoch in learning.epochs(network, ranks):
        epochs.append(epoch)
        report(epoch)
    held_out = learning.split.held_out
    good = np.array([example.good for example in held_out])
    probabilities = predicted(network, learning.resized(held_out), batch_size=learning.section.schedule.batch_size)
    roc = RocCurve.of(probabilities, good)
    metrics = {**_counts(learning.split), **figures(probabilities, good, threshold=threshold)}
    details = {"stage": "train_classifier", "seed": learning.seed, "params": to_dict(learning.section), **metrics}
    save_checkpoint(QUALITY_CLASSIFIER, network, learning.architecture, details=details)
    write_epochs(EPOCHS, epochs)
    roc.write(ROC)
    learning.resume.remove()
    return metrics


def predicted(network: QualityClassifier, shown: ResizedExamples, *, batch_size: int) -> NDArray[np.float64]:
    """Probability of good of each example, float64 (N,), without augmentation."""
    device = next(network.parameters()).device
    network.eval()
    probabilities: list[NDArray[np.float64]] = []
    for start in range(0, len(shown.examples), batch_size):
        batch = [shown[i] for i in range(start, min(start + batch_size, len(shown.examples)))]
        slices, masks = (torch.from_numpy(np.stack(arrays)).to(device) for arrays in zip(*batch, strict=True))
        with torch.inference_mode():
            probabilities.append(torch.sigmoid(network(slices.unsqueeze(1), masks).double()).cpu().numpy())
    return np.concatenate(probabilities)


def figures(
    probabilities: NDArray[np.float64], good: NDArray[np.bool_], *, threshold: float
) -> dict[str, float | str | None]:
    """What the classifier is worth on examples that never trained it; a figure that they do not give is None."""
    roc, point = RocCurve.of(probabilities, good), at_threshold(probabilities, good, threshold)
    return {
        "auc": roc.auc,
        "auc_missing": roc.auc_missing,
        "threshold": threshold,
        "precision": point.precision,
        "recall": point.true_positive_rate,
        "kept_share": point.kept_share,
        "base_rate": float(good.mean()),
    }


def _counts(split: HeldOutSplit) -> dict[str, Any]:
    parts = {"train": split.train, "held_out": split.held_out}
    return {
        "held_out_by": split.by,
        "held_out_volumes": ", ".join(sorted({example.volume_id for example in split.held_out})),
        **{
            f"{name}_examples": {
                "good": sum(example.good for example in examples),
                "bad": sum(not example.good for example in examples),
            }
            for name, examples in parts.items()
        },
    }


def _warn(split: HeldOutSplit) -> None:
    if split.by == "slices":
        log.warning(
            "All examples are of one volume, %s: its upper slices are held out, and the figures say nothing of others.",
            split.train[0].volume_id,
        )
    kinds = {example.good for example in split.train}
    if len(kinds) == 1:
        log.warning(
            "All %d examples that train the Quality Classifier are %s: it will pass everything or nothing. "
            "Change label_quality.good_iou, or review slices of both kinds.",
            len(split.train),
            "good" if kinds.pop() else "bad",
        )


if __name__ == "__main__":
    run_command("train_classifier", main)
