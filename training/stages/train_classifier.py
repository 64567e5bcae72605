"""train_classifier: the Quality Classifier learns to tell good masks from bad ones (section 2.1 of the paper).

The classifier that is shipped learns from all examples. Its figures are those of others that learnt as it did, each
from the examples of some volumes, and judged those of the rest: so every volume is judged by a classifier that saw none
of its slices. They are rather too low for it than too high, as it has seen more volumes than each of those.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from training.learning.losses import quality_loss
from training.learning.networks import ClassifierArchitecture, QualityClassifier, build_classifier
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR, ResumeFile, fingerprint
from training.learning.run_training import run_training
from training.params import Params, TrainClassifier
from training.profiles import to_dict
from training.quality.batches import QualityBatch, QualityBatches, ResizedExamples
from training.quality.cross_validation import CrossValidation, cross_validation
from training.quality.examples import EXAMPLES_DIR, Example, MaskReader, read_examples
from training.quality.judged import Judged, measured
from training.quality.roc import RocCurve
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
    """All that the weights of a classifier depend on."""

    name: str
    """Of the progress bar and of the resume file; the examples that are drawn depend on it."""
    examples: tuple[Example, ...]
    """To learn from."""
    section: TrainClassifier
    catalogue: Catalogue
    seed: int
    resized: ResizedExamples
    """The same examples, and perhaps more, as the classifier is shown them."""
    expects_dice: bool
    """It learns the Dice of organs too: some example of all has one, as those that people judged have not."""

    @classmethod
    def read(
        cls,
        section: TrainClassifier,
        *,
        seed: int,
        prepared_dir: Path = PREPARED_DIR,
        examples_dir: Path = EXAMPLES_DIR,
    ) -> Learning:
        """From all the examples that label_quality wrote."""
        examples, catalogue = read_examples(examples_dir), Catalogue.read(prepared_dir)
        windows: dict[str, Window] = {volume.id: volume.window for volume in catalogue.volumes}
        images = SliceReader(prepared_dir, cache_megabytes=CACHE_MEGABYTES)
        masks, organs = MaskReader(examples_dir), len(catalogue.organs)
        resized = ResizedExamples(examples, images, masks, windows, organs=organs, side=section.side)
        expects_dice = section.organ_weight > 0 and any(example.dice is not None for example in examples)
        return cls("train_classifier", examples, section, catalogue, seed, resized, expects_dice)

    def fold(self, number: int, examples: tuple[Example, ...]) -> Learning:
        """The same from some of the examples, for fold `number`, from 1."""
        return replace(self, name=f"{self.name}_fold_{number}", examples=examples)

    @property
    def architecture(self) -> ClassifierArchitecture:
        """Of the classifier."""
        section = self.section
        return ClassifierArchitecture(
            organs=len(self.catalogue.organs),
            side=section.side,
            encoder_depth=section.encoder_depth,
            expects_dice=self.expects_dice,
        )

    def resume(self, ranks: Processes) -> ResumeFile:
        """Where the training's state is kept; to be removed when what it was for has been written."""
        examples = [asdict(example) for example in self.examples]
        data, machine = (self.catalogue.data_sha256, examples), (ranks.arithmetic, torch.__version__)
        key = fingerprint(to_dict(self.section), self.seed, *data, *machine)
        return ResumeFile(RESUME_DIR / f"{self.name}.pt", key)

    def new_network(self) -> QualityClassifier:
        """A classifier with new weights, which depend on the seed."""
        torch.manual_seed(self.seed)
        return build_classifier(self.architecture)

    def epochs(self, network: QualityClassifier, ranks: Processes) -> Iterator[Epoch]:
        """Trains the classifier in place; yields each epoch when it is over."""
        schedule = self.section.schedule
        batches = QualityBatches(
            resized=self.resized.of(self.examples),
            organ_map=self.catalogue.organs,
            augmentation=self.section.augmentation,
            batch_size=schedule.batch_size,
            reviewed_weight=self.section.reviewed_weight,
            stage=self.name,
            seed=self.seed,
        )
        plan = Plan(
            name=self.name,
            schedule=schedule,
            steps_per_epoch=steps_per_epoch(schedule, slices=len(self.examples)),
            workers=self.section.workers,
            resume=self.resume(ranks),
        )

        def objective(model: nn.Module, batch: QualityBatch) -> Mapping[str, Tensor]:
            logits = model(batch.slices, batch.masks)
            weight = self.section.organ_weight if self.expects_dice else 0.0
            return quality_loss(logits, batch.good, batch.dice, organ_weight=weight)

        yield from train(network, batches, objective, change=batches.shown, plan=plan, processes=ranks)


def train_classifier(
    learning: Learning, *, threshold: float, ranks: Processes, report: Callable[[Epoch], None]
) -> dict[str, Any]:
    """Trains the classifier and those that measure it; writes its checkpoint and epochs, and their ROC.

    `report` is called with each epoch of its own when it is over; the paths that are written are relative to the
    working directory. Returns its metrics. Raises StageError where there are too few examples to measure it.
    """
    validation = cross_validation(learning.examples, learning.section.folds, seed=learning.seed)
    _warn(learning, validation)
    judged = cross_validated(learning, validation, ranks=ranks)
    network = learning.new_network()
    epochs: list[Epoch] = []
    for epoch in learning.epochs(network, ranks):
        epochs.append(epoch)
        report(epoch)
    metrics = {**_counts(learning.examples, validation), **measured(judged, threshold=threshold)}
    details = {"stage": "train_classifier", "seed": learning.seed, "params": to_dict(learning.section), **metrics}
    save_checkpoint(QUALITY_CLASSIFIER, network, learning.architecture, details=details)
    write_epochs(EPOCHS, epochs)
    RocCurve.of(judged.probabilities, judged.good).write(ROC)
    for of_training in (learning, *_of_folds(learning, validation)):
        of_training.resume(ranks).remove()
    return metrics


def cross_validated(learning: Learning, validation: CrossValidation, *, ranks: Processes) -> Judged:
    """Trains a classifier for each fold and has it judge what it did not learn from."""
    judged: list[Example] = []
    said: list[NDArray[np.float64]] = []
    for fold, of_fold in zip(validation.folds, _of_folds(learning, validation), strict=True):
        network = of_fold.new_network()
        for _epoch in of_fold.epochs(network, ranks):
            pass
        judged += fold.judged
        shown = learning.resized.of(fold.judged)
        said.append(predicted(network, shown, batch_size=learning.section.schedule.batch_size))
    whole = np.concatenate(said)
    return Judged(tuple(judged), whole[:, 0], whole[:, 1:])


def _of_folds(learning: Learning, validation: CrossValidation) -> tuple[Learning, ...]:
    return tuple(learning.fold(number, fold.learnt) for number, fold in enumerate(validation.folds, start=1))


def predicted(network: QualityClassifier, shown: ResizedExamples, *, batch_size: int) -> NDArray[np.float64]:
    """Of each example the probability of good, and the Dice of each organ where it is expected, without augmentation.

    float64 (N, 1 + organs), or (N, 1).
    """
    device = next(network.parameters()).device
    network.eval()
    said: list[NDArray[np.float64]] = []
    for start in range(0, len(shown.examples), batch_size):
        batch = [shown[i] for i in range(start, min(start + batch_size, len(shown.examples)))]
        slices, masks = (torch.from_numpy(np.stack(arrays)).to(device) for arrays in zip(*batch, strict=True))
        with torch.inference_mode():
            said.append(torch.sigmoid(network(slices.unsqueeze(1), masks).double()).cpu().numpy())
    return np.concatenate(said)


def _counts(examples: Sequence[Example], validation: CrossValidation) -> dict[str, Any]:
    parts = {"train": examples, "judged": [example for fold in validation.folds for example in fold.judged]}
    return {
        "judged_by": validation.by,
        "folds": len(validation.folds),
        **{
            f"{name}_examples": {
                "good": sum(example.good for example in part),
                "bad": sum(not example.good for example in part),
            }
            for name, part in parts.items()
        },
    }


def _warn(learning: Learning, validation: CrossValidation) -> None:
    examples = learning.examples
    if learning.section.organ_weight and not learning.expects_dice:
        log.warning(
            "Of none of the %d examples is the Dice of any organ known, as it is not where people judge: the Quality "
            "Classifier will say good or bad, and expect no Dice of organs.",
            len(examples),
        )
    if validation.by == "slices":
        log.warning(
            "All examples are of one volume, %s: each run of its slices is judged by a classifier of the others, and "
            "the figures say nothing of other volumes.",
            examples[0].volume_id,
        )
    kinds = {example.good for example in examples}
    if len(kinds) == 1:
        log.warning(
            "All %d examples that train the Quality Classifier are %s: it will pass everything or nothing. "
            "Change label_quality.good_iou, or review slices of both kinds.",
            len(examples),
            "good" if kinds.pop() else "bad",
        )


if __name__ == "__main__":
    run_command("train_classifier", main)
