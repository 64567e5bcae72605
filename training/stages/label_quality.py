"""label_quality: slices with a mask that is good or bad, for the Quality Classifier to learn from (section 2.1).

In the paper a person judges about 1000 pseudo-labels. Where data/reviews.csv holds such verdicts, they are examples.
As many as are missing to `label_quality.slices` are made: the labelled training volumes are divided into folds; each
fold is segmented by a Teacher that learnt from the others, and each slice is good or bad by its IoU. Validation volumes
take no part. Few verdicts alone would be too few to learn from; `train_classifier.reviewed_weight` sees to it that they
are not drowned.

Every fold's Teacher begins with new weights. Were they the Teacher's, or those of a network that learnt from its
pseudo-labels, they would have seen the labels that they are scored against, and nearly all masks would be good. It is
trained as the Teacher is, unless the section says otherwise, so that its masks are like those that they stand for.
(Where `pseudo_label.mirror` or `pseudo_label.second_teacher` make pseudo-labels better than one look of one Teacher,
they are rather worse.)
By the same masks it is chosen, for each organ, how small a component may be that refine leaves in the pseudo-labels.

A verdict in reviews.csv is on the mask that the person saw. Where the file names that by its digest, and it lies in
data/reviews, it is an example for ever, whatever the Teacher says of the slice by now; so are verdicts on scans that
have labels since, if they are for training. A line without a digest is on the pseudo-label that there is: when the
Teacher is trained anew its masks are others, and should be judged again. Verdicts on single organs are for refine
(`training.quality.standing` says why).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scans.volume import ArrayVoxels
from training.command import StageError, run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import PseudoLabelReader
from training.learning.checkpoints import TEACHER, load_architecture
from training.learning.loop import Epoch
from training.learning.networks import Architecture
from training.learning.processes import Processes
from training.learning.run_training import run_training
from training.learning.supervised import Teaching
from training.params import LabelQuality, Params
from training.progress import track
from training.quality.components import ComponentRule, OrganComponents, chosen_rule, read_rule, write_rule
from training.quality.cross_fitting import Fold, MaskJudge, folds_of
from training.quality.examples import EXAMPLES_DIR, Candidate, Example, drawn_evenly, write_examples
from training.quality.reviews import REVIEWS_FILE
from training.quality.standing import read_standing
from training.run_stage import Report, metrics_file

METRICS = metrics_file("label_quality")
QUANTILES = (0, 25, 50, 75, 100)
CACHE_MEGABYTES = 64

log = logging.getLogger(__name__)


def main() -> None:
    """Runs the stage in the repository root."""
    run_training("label_quality", _label)


def _label(params: Params, ranks: Processes, report: Callable[[Epoch], None]) -> Report:
    catalogue = Catalogue.read()
    said = read_standing(REVIEWS_FILE, catalogue)
    judged = said.examples
    if said.tally is not None:
        log.info("%s: %s; %d masks are examples", REVIEWS_FILE, said.tally.what, len(judged))
    if len(judged) >= params.label_quality.slices:
        shutil.rmtree(EXAMPLES_DIR, ignore_errors=True)
        examples = write_examples(EXAMPLES_DIR, judged)
    else:
        architecture = load_architecture(TEACHER)
        fitting = CrossFitting(params.label_quality, catalogue, architecture, params.seed, ranks, judged=judged)
        examples = fitting.write(EXAMPLES_DIR, report=lambda fold, epoch: report(_named(fold, epoch)))
    metrics = {**summary(examples), "components": read_rule(EXAMPLES_DIR)}
    if said.tally is not None:
        metrics["reviews"] = asdict(said.tally)
    return Report(metrics, {name: metrics[name] for name in ("examples", "good", "bad")}, files=(METRICS,))


def _named(fold: int, epoch: Epoch) -> Epoch:
    return replace(epoch, losses={f"fold_{fold}.{name}": value for name, value in epoch.losses.items()})


@dataclass(frozen=True)
class CrossFitting:
    """Examples from labelled volumes, beside those that people judged."""

    section: LabelQuality
    catalogue: Catalogue
    architecture: Architecture
    """The Teacher's."""
    seed: int
    ranks: Processes
    judged: tuple[Candidate, ...] = ()
    """By people; these are examples too, and so many fewer are made."""
    prepared_dir: Path = PREPARED_DIR

    def write(self, folder: Path, *, report: Callable[[int, Epoch], None]) -> tuple[Example, ...]:
        """Trains the Teachers of the folds, scores their masks, and writes about `section.slices` examples.

        `report` is called with the fold's number, from 1, and each of its epochs. With one labelled volume there is
        nothing to cross-fit: all that are made are then true labels, damaged on purpose. Raises StageError where nobody
        judged anything and no slice of a labelled training volume holds an organ.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        volumes = self.catalogue.split("train")
        with tempfile.TemporaryDirectory(prefix=".predictions", dir=folder) as predictions:
            drawn = self._predicted(volumes, folder=Path(predictions), report=report)
            if drawn:
                write_rule(folder, self._component_rule(volumes, folder=Path(predictions)))
            damaged = round(self.section.corrupted_share * len(drawn)) if len(volumes) > 1 else self._missing
            made = self._judge().damaged(volumes, damaged, seed=self.seed)
            examples = write_examples(folder, [*self.judged, *drawn, *made])
        if not examples:
            raise StageError("no slice of a labelled training volume holds an organ: there is nothing to score")
        return examples

    @property
    def _missing(self) -> int:
        """How many are to be made."""
        return self.section.slices - len(self.judged)

    def _predicted(
        self, volumes: tuple[VolumeRecord, ...], *, folder: Path, report: Callable[[int, Epoch], None]
    ) -> tuple[Candidate, ...]:
        if len(volumes) < 2:
            log.warning(
                "There is %d labelled training volume, and cross-fitting needs two: the Quality Classifier will learn "
                "from true labels that are damaged on purpose. Label another volume, or review slices in %s.",
                len(volumes),
                REVIEWS_FILE,
            )
            return ()
        folds = folds_of(volumes, self.section.folds, seed=self.seed)
        candidates: list[Candidate] = []
        for number, fold in enumerate(folds, start=1):
            candidates += self._of_fold(fold, number, folder=folder, report=report)
        for number, fold in enumerate(folds, start=1):  # not before: a stage that is killed finds its finished folds
            self._teaching(fold, number).resume(self.ranks).remove()
        return drawn_evenly(candidates, self._missing, rng=np.random.default_rng(self.seed))

    def _of_fold(
        self, fold: Fold, number: int, *, folder: Path, report: Callable[[int, Epoch], None]
    ) -> Iterator[Candidate]:
        teaching = self._teaching(fold, number)
        network = teaching.new_network()
        for epoch in teaching.epochs(network, self.ranks):
            report(number, epoch)
        predicted = fold.predicted
        for record in track(predicted, description=f"Score fold {number}", total=len(predicted), unit="volume"):
            yield from self._judge().predicted(network, record, folder=folder)

    def _component_rule(self, volumes: tuple[VolumeRecord, ...], *, folder: Path) -> ComponentRule:
        """Chosen on the predictions of the folds' Teachers."""
        reader, store, organs = self._reader(), PseudoLabelReader(folder), self.catalogue.organs
        found = [
            OrganComponents.of(
                ArrayVoxels(store.array(record.id)),
                classes=organs.classes,
                slab_slices=shard_slices(record.shape, np.dtype(np.uint8)),
                truth=reader.label_volume(record).voxels,
            )
            for record in track(volumes, description="Components", total=len(volumes), unit="volume")
        ]
        truths = [reader.slice_voxels(record.id).sum(axis=0) for record in volumes]
        return chosen_rule(list(zip(found, truths, strict=True)), organs)

    def _judge(self) -> MaskJudge:
        return MaskJudge(self._reader(), self.catalogue.organs.classes, self.section.good_iou)

    def _reader(self) -> SliceReader:
        return SliceReader(self.prepared_dir, cache_megabytes=CACHE_MEGABYTES)

    def _teaching(self, fold: Fold, number: int) -> Teaching:
        return Teaching(
            name=f"label_quality_fold_{number}",
            volumes=fold.learnt,
            organs=self.catalogue.organs,
            architecture=self.architecture,
            recipe=self.section,
            seed=self.seed,
            prepared_dir=self.prepared_dir,
        )


def summary(examples: Sequence[Example]) -> dict[str, Any]:
    """How many there are of each kind and source, and how their IoU is distributed, for JSON."""
    scored = [example.iou for example in examples if example.iou is not None]
    quantiles = np.percentile(scored, QUANTILES).tolist() if scored else []
    return {
        "source": ", ".join(sorted({example.source for example in examples})),
        "examples": len(examples),
        "by_source": dict(sorted(Counter(example.source for example in examples).items())),
        "good": sum(example.good for example in examples),
        "bad": sum(not example.good for example in examples),
        "iou_percentiles": {str(q): round(value, 4) for q, value in zip(QUANTILES, quantiles, strict=False)},
        "volumes": {
            volume_id: {
                "good": sum(example.good for example in examples if example.volume_id == volume_id),
                "bad": sum(not example.good for example in examples if example.volume_id == volume_id),
            }
            for volume_id in sorted({example.volume_id for example in examples})
        },
    }


if __name__ == "__main__":
    run_command("label_quality", main)
