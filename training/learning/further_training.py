"""Further training: what train_student and train_control share. A network goes on from the Teacher's weights, or gets
there first from new ones.

However it is trained, on labelled slices alone or on pseudo-labels too, it takes as many steps: an epoch is as long as
every labelled slice that is not for validation and every slice of every unlabelled volume, learnt from or not. So the
rows of Tables 1 and 2 differ in what is learnt from, and in nothing else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.data.patches import PatchReader
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader, VolumeRecord
from training.data.pseudo_labels import KeptSlice, refined_labels_dir, refined_labels_sha256
from training.learning.checkpoints import TEACHER, load_architecture, load_network, save_checkpoint
from training.learning.consistency import consistency_loss
from training.learning.loop import Epoch, Objective, Plan, last_metrics, steps_per_epoch, train, write_epochs
from training.learning.losses import distillation, student_loss, supervised_loss, with_consistency
from training.learning.networks import SegmentationNetwork, build_unet
from training.learning.pools import Pool, labelled_pool, refined_pool, shares_of
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR, ResumeFile, fingerprint
from training.learning.sampling import Batch, PatchBatches
from training.profiles import to_dict
from training.recipe import Schedule, Supervised

PSEUDO_LABEL_CACHE_SHARE = 0.25
"""Of `cache_megabytes`; a grey value takes two or four bytes, a pseudo-label one."""


@dataclass(frozen=True)
class TeacherTerm:
    """How near the Teacher a network is held (eq. 3, 4)."""

    alpha: float
    """Weight of the term, 0..1."""
    temperature: float
    """tau, which softens both sides of it."""
    clean_view: bool
    """The Teacher sees the patches before their grey values were changed; False: as the network sees them."""


@dataclass(frozen=True)
class LabelSource:
    """Where pseudo-labels stand."""

    folder: Path
    sha256: str
    """Of all of them."""

    @classmethod
    def refined(cls) -> LabelSource:
        """What refine left. Raises StageFileError."""
        return cls(refined_labels_dir(), refined_labels_sha256())


@dataclass(frozen=True)
class FurtherTraining:
    """All that the weights of a Student, or of the control, depend on.

    Every path is relative to the working directory.
    """

    name: str
    """Of the stage, of the progress bar and of the resume file; the patches that are drawn depend on it."""
    recipe: Supervised
    catalogue: Catalogue
    seed: int
    kept: tuple[KeptSlice, ...] = ()
    """Pseudo-labelled slices to learn from, beside those of the labelled training volumes."""
    label_source: LabelSource | None = None
    """Of the labels of `kept`; None: what refine left."""
    labelled_share: float = 0.0
    """Share of the patches that come from labelled volumes where `kept` holds any; 0: in proportion to the slices."""
    balanced_experiments: bool = False
    """The other patches come from every experiment as often; False: from every slice of `kept`."""
    last_labelled: float = 0.0
    """Share of the steps, at the end, whose patches all come from labelled volumes."""
    teacher_term: TeacherTerm | None = None
    """None: no distillation."""
    consistency: float = 0.0
    """Weight of the consistency term (`training.learning.consistency`); 0: none."""
    first_schedule: Schedule | None = None
    """The Teacher's, which a network with new weights goes through first; None: start from the Teacher's weights."""

    def network(self) -> SegmentationNetwork:
        """The Teacher's network, or one of the same architecture with new weights, which depend on the seed."""
        if self.first_schedule is None:
            return load_network(TEACHER)
        torch.manual_seed(self.seed)
        return build_unet(load_architecture(TEACHER))

    def epochs(self, network: SegmentationNetwork, ranks: Processes) -> Iterator[Epoch]:
        """Trains the network in place; yields each epoch when it is over, counted over both schedules."""
        objective, pools = self.objective(ranks), self._pools()
        epochs = steps = 0
        for plan in self._plans(ranks):
            batches = self._batches(pools, plan, ranks)
            for epoch in train(network, batches, objective, change=batches.shown, plan=plan, processes=ranks):
                yield replace(epoch, number=epochs + epoch.number, step=steps + epoch.step)
            epochs, steps = epochs + plan.schedule.epochs, steps + plan.steps

    def details(self) -> dict[str, Any]:
        """What stands in the checkpoint."""
        return {
            "stage": self.name,
            "seed": self.seed,
            "params": to_dict(self.recipe),
            "organs": self.catalogue.organs.to_mapping(),
            "data_sha256": self.catalogue.data_sha256,
            "teacher_sha256": _teacher_sha256(),
            "refined_slices": len(self.kept),
        }

    def forget(self, ranks: Processes) -> None:
        """Removes the resume files, once what the training made has been written."""
        for plan in self._plans(ranks):
            plan.resume.remove()

    def _plans(self, ranks: Processes) -> tuple[Plan, ...]:
        """The Teacher's schedule first where the weights are new, then its own."""
        labelled = self.catalogue.slices("train", "reserve")
        own = self._plan(self.name, self.recipe.schedule, labelled + self.catalogue.slices("unlabelled"), ranks)
        if self.first_schedule is None:
            return (own,)
        return (self._plan(f"{self.name}_from_new", self.first_schedule, labelled, ranks), own)

    def _plan(self, name: str, schedule: Schedule, slices: int, ranks: Processes) -> Plan:
        return Plan(
            name=name,
            schedule=schedule,
            steps_per_epoch=steps_per_epoch(schedule, slices=slices),
            workers=self.recipe.workers,
            resume=ResumeFile(RESUME_DIR / f"{name}.pt", self._fingerprint(name, ranks)),
        )

    def _fingerprint(self, name: str, ranks: Processes) -> str:
        return fingerprint(
            name,
            to_dict(self.recipe),
            None if self.first_schedule is None else to_dict(self.first_schedule),
            self.seed,
            self.catalogue.data_sha256,
            [(volume.affine, asdict(volume.window)) for volume in self.catalogue.volumes],
            [(slice_.volume_id, slice_.slice_index) for slice_ in self.kept],
            self._label_source().sha256 if self.kept else "",
            _teacher_sha256(),
            ranks.world_size,
            ranks.arithmetic,
            torch.__version__,
        )

    def _label_source(self) -> LabelSource:
        return self.label_source or LabelSource.refined()

    def _pools(self) -> tuple[Pool, ...]:
        catalogue, megabytes = self.catalogue, self.recipe.sampling.cache_megabytes
        share = PSEUDO_LABEL_CACHE_SHARE if self.kept else 0.0
        images = _patches(PREPARED_DIR, megabytes * (1 - share))
        fewest = self.recipe.sampling.fewest_pixels
        labelled = labelled_pool(catalogue.split("train"), catalogue.organs, reader=images, fewest_pixels=fewest)
        if not self.kept:
            return (labelled,)
        labels = _patches(self._label_source().folder, megabytes * share)
        return (
            labelled,
            *(
                refined_pool(volumes, kept, catalogue.organs, images=images, labels=labels, fewest_pixels=fewest)
                for volumes, kept in self._groups()
            ),
        )

    def _groups(self) -> Iterator[tuple[tuple[VolumeRecord, ...], tuple[KeptSlice, ...]]]:
        """The unlabelled volumes and their kept slices: all together, or each experiment by itself."""
        volumes = self.catalogue.split("unlabelled")
        if not self.balanced_experiments:
            yield volumes, self.kept
            return
        for experiment in sorted({volume.experiment for volume in volumes}):
            own = tuple(volume for volume in volumes if volume.experiment == experiment)
            kept = tuple(slice_ for slice_ in self.kept if slice_.volume_id in {volume.id for volume in own})
            if kept:
                yield own, kept

    def _batches(self, pools: tuple[Pool, ...], plan: Plan, ranks: Processes) -> PatchBatches:
        return PatchBatches(
            pools=pools,
            shares=shares_of(pools, labelled_share=self.labelled_share),
            organs=self.catalogue.organs,
            sampling=self.recipe.sampling,
            augmentation=self.recipe.augmentation,
            batch_size=plan.schedule.batch_size,
            stage=plan.name,
            seed=self.seed,
            labelled_only_from=self._labelled_only_from(plan),
            unchanged_too=self.consistency > 0 or (self.teacher_term is not None and self.teacher_term.clean_view),
            rank=ranks.rank,
            world_size=ranks.world_size,
        )

    def _labelled_only_from(self, plan: Plan) -> int | None:
        """The step, counted in the plan, from which patches come from labelled volumes alone."""
        if not self.last_labelled or plan.name != self.name:
            return None
        return round((1 - self.last_labelled) * plan.steps)

    def objective(self, ranks: Processes) -> Objective:
        """The loss of eq. 4; the Teacher, frozen, sees the same patches, with or without other grey values."""
        recipe, term, weight = self.recipe, self.teacher_term, self.consistency
        teacher = None if term is None else load_network(TEACHER).to(ranks.device).requires_grad_(False)
        if teacher is not None:
            teacher = teacher.to(memory_format=torch.channels_last)

        def objective(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            logits = model(batch.images)
            losses = supervised_loss(logits, batch.labels, dice_weight=recipe.dice_weight)
            if teacher is not None and term is not None:
                with torch.no_grad():
                    teacher_logits = teacher(batch.unchanged if term.clean_view else batch.images)
                kl = distillation(logits, teacher_logits, temperature=term.temperature)
                losses = student_loss(losses, kl, alpha=term.alpha)
            if weight:
                agreement = consistency_loss(model, batch.unchanged, batch.images, seed=int(batch.seed))
                losses = with_consistency(losses, agreement, weight=weight)
            return losses

        return objective


def train_further(
    training: FurtherTraining, *, checkpoint: Path, epochs_file: Path, ranks: Processes, report: Callable[[Epoch], None]
) -> dict[str, float]:
    """Trains, and writes checkpoint and epochs. `report` is called with each epoch when it is over.

    Returns the metrics, none in every process but the first. Raises StageError where no labelled volume is there to
    train on, CheckpointError where there is no Teacher.
    """
    began = time.monotonic()
    network = training.network()
    epochs: list[Epoch] = []
    for epoch in training.epochs(network, ranks):
        epochs.append(epoch)
        report(epoch)
    if not ranks.first:
        return {}
    save_checkpoint(checkpoint, network, load_architecture(TEACHER), details=training.details())
    write_epochs(epochs_file, epochs)
    training.forget(ranks)
    return last_metrics(epochs, seconds=time.monotonic() - began)


def _patches(folder: Path, megabytes: float) -> PatchReader:
    return PatchReader(SliceReader(folder, cache_megabytes=0), cache_megabytes=int(megabytes))


def _teacher_sha256() -> str:
    with TEACHER.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
