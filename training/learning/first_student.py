"""A first Student, who labels with its Teacher: the second round (Xie et al. 2020, Self-training with Noisy Student).

It goes on from the Teacher's weights, on labelled slices and on all slices where the Teacher sees an organ, with the
Teacher's labels. Where it sees more than the Teacher, so does the Student whom their labels teach. That one starts from
the Teacher's weights as ever, and takes no step more. Not in the paper.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from training.data.prepared import Catalogue, SliceReader, shard_slices
from training.data.pseudo_labels import KeptSlice
from training.learning.further_training import FurtherTraining, LabelSource
from training.learning.loop import Epoch
from training.learning.processes import Processes
from training.learning.second_teacher import NAME
from training.recipe import Supervised

LABELLED_SHARE = 0.5
"""Of the patches; the others are the Teacher's."""


def train_first_student(
    recipe: Supervised,
    catalogue: Catalogue,
    *,
    labels_dir: Path,
    seed: int,
    ranks: Processes,
    report: Callable[[Epoch], None],
) -> nn.Module:
    """A network that has learnt from people and from what the Teacher wrote into `labels_dir`.

    `report` is called with each epoch when it is over. Call `forget_second_teacher` when what the network is for has
    been written. Raises StageError where no labelled volume is there to train on, CheckpointError where there is no
    Teacher.
    """
    kept, digest = _holding(catalogue, labels_dir)
    training = FurtherTraining(
        name=NAME,
        recipe=recipe,
        catalogue=catalogue,
        seed=seed,
        kept=kept,
        labelled_share=LABELLED_SHARE,
        label_source=LabelSource(labels_dir, digest),
    )
    network = training.network()
    for epoch in training.epochs(network, ranks):
        report(epoch)
    return network


def _holding(catalogue: Catalogue, labels_dir: Path) -> tuple[tuple[KeptSlice, ...], str]:
    """The slices with an organ, and the SHA-256 of all labels."""
    store, digest = SliceReader(labels_dir, cache_megabytes=0), hashlib.sha256()
    kept: list[KeptSlice] = []
    for record in catalogue.split("unlabelled"):
        for box, slab in store.label_volume(record).slabs(shard_slices(record.shape, np.dtype(np.uint8))):
            digest.update(slab.tobytes())
            holding = np.flatnonzero(slab.any(axis=(1, 2)))
            kept += [KeptSlice(record.id, box.start[0] + int(z), 1.0) for z in holding]
    return tuple(kept), digest.hexdigest()
