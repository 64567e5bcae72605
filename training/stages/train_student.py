"""train_student: a network like the Teacher learns from labelled and refined pseudo-labelled slices (section 2.2).

Its three switches make the rows of Table 2: pseudo-labels, distillation, and the Teacher's weights to start from.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from training.command import run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, KeptSlice, read_refined
from training.learning.checkpoints import STUDENT, TEACHER, load_architecture, load_network, save_checkpoint
from training.learning.loop import Epoch, Objective, Plan, last_metrics, steps_per_epoch, train, write_epochs
from training.learning.losses import distillation, student_loss, supervised_loss
from training.learning.networks import SegmentationNetwork, build_unet
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR, ResumeFile, fingerprint
from training.learning.run_training import run_training, trained
from training.learning.sampling import Batch, PatchBatches, Pool, in_proportion, labelled_pool, refined_pool
from training.params import Params, TrainStudent
from training.profiles import to_dict
from training.run_stage import Report

EPOCHS = Path("plots/train_student.csv")
PSEUDO_LABEL_CACHE_SHARE = 0.25
"""Of `cache_megabytes`; a grey value takes two or four bytes, a pseudo-label one."""

log = logging.getLogger(__name__)


def main() -> None:
    """Runs the stage in the repository root; under torchrun, in each of its processes."""
    run_training("train_student", _train, shared=True)


def _train(params: Params, ranks: Processes, report: Callable[[Epoch], None]) -> Report | None:
    metrics = train_student(params.train_student, seed=params.seed, ranks=ranks, report=report)
    return trained(metrics, epochs=EPOCHS)


def train_student(
    section: TrainStudent, *, seed: int, ranks: Processes, report: Callable[[Epoch], None]
) -> dict[str, float]:
    """Trains the Student and writes its checkpoint and epochs.

    Every path is relative to the working directory. `report` is called with each epoch when it is over. Returns its
    metrics, none in every process but the first. Raises StageError where no labelled volume is there to train on,
    CheckpointError where there is no Teacher.
    """
    began = time.monotonic()
    catalogue = Catalogue.read()
    kept = _kept(section)
    network = _first_weights(section, seed)
    batches = _batches(section, catalogue, kept, seed=seed, ranks=ranks)
    resume = _resume_file(section, catalogue, kept, seed=seed, ranks=ranks)
    plan = Plan(
        name="train_student",
        schedule=section.schedule,
        steps_per_epoch=steps_per_epoch(section.schedule, slices=batches.slices),
        workers=section.workers,
        resume=resume,
    )
    epochs: list[Epoch] = []
    for epoch in train(network, batches, _objective(section, ranks), plan=plan, processes=ranks):
        epochs.append(epoch)
        report(epoch)
    if not ranks.first:
        return {}
    details = {
        "stage": "train_student",
        "seed": seed,
        "params": to_dict(section),
        "organs": catalogue.organs.to_mapping(),
        "data_sha256": catalogue.data_sha256,
        "teacher_sha256": _teacher_sha256(),
        "refined_slices": len(kept),
    }
    save_checkpoint(STUDENT, network, load_architecture(TEACHER), details=details)
    write_epochs(EPOCHS, epochs)
    resume.remove()
    return last_metrics(epochs, seconds=time.monotonic() - began)


def _kept(section: TrainStudent) -> tuple[KeptSlice, ...]:
    """The refined slices to learn from; none where the switch is off."""
    if not section.pseudo_labels:
        log.info("train_student: pseudo_labels is off; learning from labelled slices alone")
        return ()
    kept = read_refined()
    if not kept:
        log.warning("train_student: refine kept no pseudo-labelled slice; learning from labelled slices alone")
    return kept


def _first_weights(section: TrainStudent, seed: int) -> SegmentationNetwork:
    """The Teacher's network, or one of the same architecture with new weights."""
    if section.teacher_checkpoint:
        return load_network(TEACHER)
    torch.manual_seed(seed)
    return build_unet(load_architecture(TEACHER))


def _batches(
    section: TrainStudent, catalogue: Catalogue, kept: tuple[KeptSlice, ...], *, seed: int, ranks: Processes
) -> PatchBatches:
    megabytes = section.sampling.cache_megabytes
    share = PSEUDO_LABEL_CACHE_SHARE if kept else 0.0
    images = SliceReader(PREPARED_DIR, cache_megabytes=int(megabytes * (1 - share)))
    pools: tuple[Pool, ...] = (labelled_pool(catalogue.split("train"), catalogue.organs, reader=images),)
    if kept:
        labels = SliceReader(PSEUDO_LABELS_DIR, cache_megabytes=int(megabytes * share))
        unlabelled = catalogue.split("unlabelled")
        pools += (refined_pool(unlabelled, kept, catalogue.organs, images=images, labels=labels),)
    shares = (section.labelled_share, 1 - section.labelled_share) if kept and section.labelled_share else None
    return PatchBatches(
        pools=pools,
        shares=shares or in_proportion(pools),
        organs=catalogue.organs,
        sampling=section.sampling,
        augmentation=section.augmentation,
        batch_size=section.schedule.batch_size,
        stage="train_student",
        seed=seed,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )


def _objective(section: TrainStudent, ranks: Processes) -> Objective:
    """The loss of eq. 4; the Teacher, frozen, sees the same augmented patches as the Student."""
    teacher = load_network(TEACHER).to(ranks.device).requires_grad_(False) if section.distillation else None

    def objective(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        logits = model(batch.images)
        supervised = supervised_loss(logits, batch.labels, dice_weight=section.dice_weight)
        if teacher is None:
            return supervised
        with torch.no_grad():
            teacher_logits = teacher(batch.images)
        kl = distillation(logits, teacher_logits, temperature=section.temperature)
        return student_loss(supervised, kl, alpha=section.alpha)

    return objective


def _resume_file(
    section: TrainStudent, catalogue: Catalogue, kept: tuple[KeptSlice, ...], *, seed: int, ranks: Processes
) -> ResumeFile:
    key = fingerprint(
        to_dict(section),
        seed,
        catalogue.data_sha256,
        [asdict(volume.window) for volume in catalogue.volumes],
        [(slice_.volume_id, slice_.slice_index) for slice_ in kept],
        _teacher_sha256(),
        ranks.world_size,
        ranks.device.type,
        torch.__version__,
    )
    return ResumeFile(RESUME_DIR / "train_student.pt", key)


def _teacher_sha256() -> str:
    with TEACHER.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    run_command("train_student", main)
