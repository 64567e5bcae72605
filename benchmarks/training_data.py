"""Trainings to be measured: a prepared data set of some size, and Teacher and Student with their batches on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import zoom
from torch import Tensor, nn

from scans.geometry import Box, Frame, Spacing, Triple
from scans.intensity import IntensityRule, Window
from scans.organs import OrganMap
from scans.volume import Volume
from training.data.patches import PatchReader
from training.data.prepared import (
    PREPARED_DIR,
    Catalogue,
    SliceReader,
    Split,
    VolumeRecord,
)
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, KeptSlice, PseudoLabelWriter
from training.data.volume_writer import store_volume
from training.learning.checkpoints import TEACHER, save_checkpoint
from training.learning.further_training import FurtherTraining, LabelSource, TeacherTerm
from training.learning.loop import Objective
from training.learning.losses import supervised_loss
from training.learning.networks import Architecture, build_unet
from training.learning.pools import labelled_pool, refined_pool, shares_of
from training.learning.processes import Processes
from training.learning.sampling import Batch, PatchBatches
from training.params import Params
from training.recipe import Supervised

ORGANS = OrganMap.from_mapping({number: f"organ_{number}" for number in range(1, 11)})


@dataclass(frozen=True)
class Measured:
    """A training whose speed is measured."""

    network: str
    """Teacher or Student."""
    batches: PatchBatches
    objective: Objective
    architecture: Architecture
    recipe: Supervised

    def new_network(self) -> nn.Module:
        """With new weights."""
        torch.manual_seed(1)
        return build_unet(self.architecture)


def trainings(params: Params, *, shape: Triple, volumes: int, ranks: Processes) -> tuple[Measured, Measured]:
    """Teacher and Student of a profile, on so many labelled and as many pseudo-labelled volumes of noise with organs.

    Writes them, and a Teacher with new weights, into the working directory.
    """
    splits: tuple[Split, ...] = ("train", "unlabelled")
    records = [_volume(f"{split}_{number}", split, shape, seed=number) for split in splits for number in range(volumes)]
    catalogue = Catalogue(ORGANS, IntensityRule(0.0, 100.0), tuple(records), data_sha256="measured")
    architecture = Architecture(params.train_teacher.encoder, params.train_teacher.encoder_depth, organs=len(ORGANS))
    save_checkpoint(TEACHER, build_unet(architecture), architecture, details={})
    kept = tuple(KeptSlice(record.id, z, 1.0) for record in catalogue.split("unlabelled") for z in range(shape[0]))
    student = params.train_student
    further = FurtherTraining(
        "train_student",
        student.supervised,
        catalogue,
        seed=1,
        kept=kept,
        label_source=LabelSource(PSEUDO_LABELS_DIR, ""),
        teacher_term=TeacherTerm(student.alpha, student.temperature, clean_view=student.clean_view),
    )
    teacher = params.train_teacher.supervised

    def supervised(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        return supervised_loss(model(batch.images), batch.labels, dice_weight=teacher.dice_weight)

    return (
        Measured("Teacher", _batches("train_teacher", teacher, catalogue), supervised, architecture, teacher),
        Measured(
            "Student",
            _batches("train_student", student.supervised, catalogue, kept, labelled_share=student.labelled_share),
            further.objective(ranks),
            architecture,
            student.supervised,
        ),
    )


def _batches(
    stage: str,
    recipe: Supervised,
    catalogue: Catalogue,
    kept: tuple[KeptSlice, ...] = (),
    *,
    labelled_share: float = 0.0,
) -> PatchBatches:
    images, labels = (
        PatchReader(SliceReader(folder, cache_megabytes=0), cache_megabytes=recipe.sampling.cache_megabytes)
        for folder in (PREPARED_DIR, PSEUDO_LABELS_DIR)
    )
    pools = [labelled_pool(catalogue.split("train"), ORGANS, reader=images)]
    if kept:
        pools.append(refined_pool(catalogue.split("unlabelled"), kept, ORGANS, images=images, labels=labels))
    return PatchBatches(
        pools=tuple(pools),
        shares=shares_of(pools, labelled_share=labelled_share),
        organs=ORGANS,
        sampling=recipe.sampling,
        augmentation=recipe.augmentation,
        batch_size=recipe.schedule.batch_size,
        stage=stage,
        seed=1,
    )


def _volume(name: str, split: Split, shape: Triple, *, seed: int) -> VolumeRecord:
    """uint16 noise around organs in the middle of the slices, which lie elsewhere from slice to slice."""
    rng = np.random.default_rng(seed)
    depth, rows, columns = shape
    coarse = zoom(rng.standard_normal((12, 12)), (rows / 12, columns / 12), order=1)[:rows, :columns]
    middle = np.hypot(*np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")) < 0.8
    plane = (np.digitize(coarse, np.linspace(-1.5, 1.5, len(ORGANS))) * middle).astype(np.uint8)
    labels = np.stack([np.roll(plane, z, axis=0) for z in range(depth)])
    image = (3000 + 400 * labels.astype(np.float32) + rng.normal(0, 300, shape).astype(np.float32)).astype(np.uint16)
    record = VolumeRecord(
        id=name,
        experiment="",
        split=split,
        shape=shape,
        affine=Frame.from_lps(Spacing(0.01, 0.01, 0.01)).affine,
        window=Window(2000.0, 8000.0),
        source="noise",
        sha256=name,
    )
    labelled = Volume.from_array(labels, record.frame)
    store_volume(
        PREPARED_DIR,
        volume_id=name,
        image=Volume.from_array(image, record.frame),
        labels=labelled if split == "train" else None,
        organs=ORGANS,
    )
    if split == "unlabelled":
        with PseudoLabelWriter(PSEUDO_LABELS_DIR, name, shape) as writer:
            writer.write(Box.of_shape(shape), labels)
    return record
