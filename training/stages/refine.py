"""refine: keeps the pseudo-labels that the Quality Classifier passes (section 2.1 of the paper).

Slices where the Teacher sees no organ at all are not shown to it: no example of a good one was ever made, and nothing
tells a slice beside the fish from a fish that the Teacher missed, as it does most in the beam times that it was not
trained on. Whether they are kept is `refine.keep_empty`, with the classifier or without.

What people say in data/reviews.csv counts more than the classifier, where it is of the very masks that are there: a
slice called bad is dropped, one called good is kept, and where single organs are bad, the slice is kept for its others,
if it has any: neither the bad ones' pixels nor the background, where the rest of them may lie, teach anything.

With `refine.components` the small components of organs are left out first, by the rule that label_quality chose: what
is judged, and what the Student learns, are the labels without them.

Where the truth of volumes without labels is known, as that of synthetic fish is, what was kept is compared with it.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from scans.organs import OrganMap
from scans.volume import ArrayVoxels, Voxels
from training.command import run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import (
    PSEUDO_LABELS_DIR,
    REFINED_DIR,
    KeptSlice,
    PseudoLabelReader,
    PseudoLabelWriter,
    read_refined,
    refined_labels_dir,
    write_refined,
)
from training.data.truth import read_truth
from training.learning.checkpoints import QUALITY_CLASSIFIER, load_classifier, load_classifier_architecture
from training.params import Params, Refine
from training.progress import track
from training.quality.classifier_input import Scorer, scorer
from training.quality.components import ComponentRule, OrganComponents, read_rule
from training.quality.examples import EXAMPLES_DIR
from training.quality.reviews import REVIEWS_FILE
from training.quality.standing import NOTHING_SAID, StandingVerdicts, read_standing
from training.quality.truth_scores import Figures, by_experiment, flat, table, truth_scores
from training.quality.unsure import OrganDoubt, holding_any, leave_unsure_out
from training.run_stage import Report, run_stage
from training.tracking.runs import StageRun

BATCH_SLICES = 16

LOG = logging.getLogger(__name__)


def main() -> None:
    """Runs the stage in the repository root."""
    run_stage("refine", _refine)


def _refine(params: Params, _run: StageRun) -> Report:
    said = read_standing(REVIEWS_FILE, Catalogue.read(PREPARED_DIR))
    counts = refine(
        _scorer() if params.refine.quality_classifier else None,
        params.refine,
        rule=_component_rule() if params.refine.components else {},
        said=said,
        prepared_dir=PREPARED_DIR,
        pseudo_labels_dir=PSEUDO_LABELS_DIR,
        output_dir=REFINED_DIR,
    )
    metrics = summary(counts) | of_reviews(said)
    figures = {name: metrics[name] for name in ("slices", "empty", "kept", "kept_share")}
    experiments = {f"kept_share.{name}": group["kept_share"] for name, group in metrics["by_experiment"].items()}
    truth = against_truth(
        good_iou=params.label_quality.good_iou,
        classifier=params.refine.quality_classifier,
        prepared_dir=PREPARED_DIR,
        pseudo_labels_dir=PSEUDO_LABELS_DIR,
        refined_dir=REFINED_DIR,
    )
    if not truth:
        return Report(metrics, figures | experiments)
    Console().print(table(truth))
    return Report(metrics | {"against_truth": truth}, figures | experiments | flat(truth))


def _component_rule() -> ComponentRule:
    rule = read_rule(EXAMPLES_DIR)
    if not rule:
        LOG.warning("refine.components is on, but nothing was cross-fitted to choose a rule on: all components stay.")
    return rule


def _scorer() -> Scorer:
    architecture = load_classifier_architecture(QUALITY_CLASSIFIER)
    return scorer(load_classifier(QUALITY_CLASSIFIER), organs=architecture.organs, side=architecture.side)


@dataclass(frozen=True)
class VolumeCounts:
    """What became of one volume's pseudo-labels."""

    experiment: str
    slices: int
    """All of them."""
    empty: int
    """Those where the Teacher sees no organ."""
    kept: int
    """Those that the Student learns from."""


def refine(
    score: Scorer | None,
    section: Refine,
    *,
    rule: ComponentRule,
    said: StandingVerdicts = NOTHING_SAID,
    prepared_dir: Path,
    pseudo_labels_dir: Path,
    output_dir: Path,
) -> dict[str, VolumeCounts]:
    """Writes refined.json: slices with at least `section.threshold` of being good; returns the counts of each volume.

    `score` None keeps every slice that holds an organ. Those without one are kept where `section.keep_empty`. Of slices
    of which people have `said` something, that decides. Where `rule` leaves out components, or `said` or
    `section.least_confidence` masks organs (which the classifier judges unmasked), the labels that are left stand in
    `output_dir`. That nothing is kept is a loud warning, no error: a Student can still be
    trained, on labelled slices alone.
    """
    shutil.rmtree(output_dir, ignore_errors=True)
    catalogue = Catalogue.read(prepared_dir)
    records = catalogue.split("unlabelled")
    if changed := any(rule.values()):
        _leave_out(records, catalogue.organs, rule, pseudo_labels_dir=pseudo_labels_dir, output_dir=output_dir)
    labels_dir = output_dir if changed else pseudo_labels_dir
    doubt = OrganDoubt(section.least_confidence, said, catalogue.organs)
    stores = {"labels_dir": labels_dir, "pseudo_labels_dir": pseudo_labels_dir}
    kept, counts, sha256 = _judged(records, score, section, doubt, prepared_dir=prepared_dir, **stores)
    if section.least_confidence or said.organs:
        changed = True
        sha256 = leave_unsure_out(records, doubt, **stores, output_dir=output_dir)
    volumes = {name: asdict(of_volume) for name, of_volume in counts.items()}
    write_refined(output_dir, kept, volumes=volumes, changed=changed, labels_sha256=sha256)
    if records and not kept:
        _warn_that_nothing_is_kept(len(records), section)
    return counts


def _judged(
    records: Sequence[VolumeRecord],
    score: Scorer | None,
    section: Refine,
    doubt: OrganDoubt,
    *,
    prepared_dir: Path,
    labels_dir: Path,
    pseudo_labels_dir: Path,
) -> tuple[list[KeptSlice], dict[str, VolumeCounts], str]:
    """The slices that are kept, what became of each volume's, and the SHA-256 of all labels."""
    images, store = SliceReader(prepared_dir, cache_megabytes=0), PseudoLabelReader(labels_dir)
    teachers = PseudoLabelReader(pseudo_labels_dir)
    kept: list[KeptSlice] = []
    counts: dict[str, VolumeCounts] = {}
    digest = hashlib.sha256()
    for record in track(records, description="Refine", total=len(records), unit="volume"):
        stores = {"images": images.volume(record).voxels, "labels": ArrayVoxels(store.array(record.id))}
        unsure = doubt.of_volume(record, teachers)
        own, counts[record.id] = _refined(
            record, **stores, score=score, section=section, said=doubt.said, unsure=unsure, digest=digest
        )
        kept += own
    return kept, counts, digest.hexdigest()


def _leave_out(
    records: Sequence[VolumeRecord],
    organs: OrganMap,
    rule: ComponentRule,
    *,
    pseudo_labels_dir: Path,
    output_dir: Path,
) -> None:
    """Writes the pseudo-labels without the components that the rule does not keep."""
    store = PseudoLabelReader(pseudo_labels_dir)
    for record in track(records, description="Components", total=len(records), unit="volume"):
        slab_slices = shard_slices(record.shape, np.dtype(np.uint8))
        labels = ArrayVoxels(store.array(record.id))
        found = OrganComponents.of(labels, classes=organs.classes, slab_slices=slab_slices)
        with PseudoLabelWriter(output_dir, record.id, record.shape) as writer:
            for box, slab in found.without(organs, rule):
                writer.write(box, slab)


def _refined(
    record: VolumeRecord,
    *,
    images: Voxels,
    labels: Voxels,
    score: Scorer | None,
    section: Refine,
    said: StandingVerdicts,
    unsure: NDArray[np.bool_],
    digest: hashlib._Hash,
) -> tuple[list[KeptSlice], VolumeCounts]:
    """The slices of one volume that are kept, with probabilities, and its counts; `digest` takes its labels in."""
    depth = record.shape[0]
    empty, kept = 0, []
    for start in range(0, depth, BATCH_SLICES):
        segmentation = labels.read(start, start + BATCH_SLICES)
        digest.update(segmentation.tobytes())
        holding = np.asarray(segmentation.any(axis=(1, 2)))
        empty += int(np.count_nonzero(~holding))
        good = np.ones(len(segmentation))
        passed = np.logical_or(holding, section.keep_empty)
        if score is not None and holding.any():
            slices = images.read(start, start + BATCH_SLICES)
            good[holding] = score(slices[holding], segmentation[holding], record.window).good
            passed &= good >= section.threshold
        places = [(record.id, start + z) for z in range(len(segmentation))]
        decided = [said.keeps(place) for place in places]
        chosen = [own if by_people is None else by_people for own, by_people in zip(passed, decided, strict=True)]
        left = holding_any(segmentation, unsure[start : start + BATCH_SLICES])
        kept += [KeptSlice(*places[z], float(good[z])) for z in np.flatnonzero(left & chosen).tolist()]
    return kept, VolumeCounts(record.experiment, slices=depth, empty=empty, kept=len(kept))


def _warn_that_nothing_is_kept(volumes: int, section: Refine) -> None:
    if section.quality_classifier:
        why, cure = f"reached refine.threshold = {section.threshold:g}", "Lower the threshold"
    else:
        why, cure = "holds an organ, and refine.keep_empty is false", "Train the Teacher for longer"
    LOG.warning(
        "No pseudo-label of %d volumes %s: the Student will learn from labelled slices alone. %s, or look at "
        "metrics/label_quality.json for how good the Teacher is.",
        volumes,
        why,
        cure,
    )


def against_truth(
    *, good_iou: float, classifier: bool, prepared_dir: Path, pseudo_labels_dir: Path, refined_dir: Path
) -> dict[str, Figures]:
    """Figures, per experiment and of all, of the labels that refine leaves, where the truth is known; else none.

    What is kept stands in refined.json by then: the truth has no say in it.
    """
    catalogue = Catalogue.read(prepared_dir)
    labels_dir = refined_labels_dir(refined_dir, pseudo_labels_dir=pseudo_labels_dir)
    store, kept = PseudoLabelReader(labels_dir), read_refined(refined_dir)
    scores = [
        truth_scores(
            record,
            pseudo_labels=ArrayVoxels(store.array(record.id)),
            truth=truth,
            kept={slice_.slice_index for slice_ in kept if slice_.volume_id == record.id},
            classes=catalogue.organs.classes,
            good_iou=good_iou,
        )
        for record in catalogue.split("unlabelled")
        if (truth := read_truth(prepared_dir, record.id)) is not None
    ]
    return by_experiment(scores, catalogue.organs, classifier=classifier) if scores else {}


def of_reviews(said: StandingVerdicts) -> dict[str, Any]:
    """How many verdicts people gave, and what became of them, for JSON; nothing where they gave none."""
    return {} if said.tally is None else {"reviews": asdict(said.tally)}


def summary(counts: dict[str, VolumeCounts]) -> dict[str, Any]:
    """Slices, empty, kept and the kept share of all: over the whole, per experiment and per volume, for JSON."""
    experiments = sorted({of_volume.experiment for of_volume in counts.values()})
    return {
        **_total(list(counts.values())),
        "by_experiment": {
            name: _total([of_volume for of_volume in counts.values() if of_volume.experiment == name])
            for name in experiments
        },
        "volumes": {name: {"experiment": c.experiment, **_total([c])} for name, c in counts.items()},
    }


def _total(counts: Sequence[VolumeCounts]) -> dict[str, float]:
    slices, kept = sum(c.slices for c in counts), sum(c.kept for c in counts)
    empty = sum(c.empty for c in counts)
    return {"slices": slices, "empty": empty, "kept": kept, "kept_share": kept / slices if slices else 0.0}


if __name__ == "__main__":
    run_command("refine", main)
