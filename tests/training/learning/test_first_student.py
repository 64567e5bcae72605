"""A first Student: what it learns from, and that it goes on from the Teacher's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scans.geometry import Box
from tests.training.tiny_volumes import ORGANS, TEACHER_SECTION, tiny_data_set
from training.data.prepared import Catalogue
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, PseudoLabelWriter
from training.learning.checkpoints import TEACHER, save_checkpoint
from training.learning.first_student import train_first_student
from training.learning.networks import Architecture, build_unet
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR
from training.learning.second_teacher import forget_second_teacher

ARCHITECTURE = Architecture("resnet18", 3, len(ORGANS))
RECIPE = replace(
    TEACHER_SECTION.supervised,
    schedule=replace(TEACHER_SECTION.schedule, epochs=1, steps_per_epoch=2, learning_rate=1e-6),
)


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """One that has learnt nothing, and a small data set."""
    monkeypatch.chdir(tmp_path)
    tiny_data_set(tmp_path, unlabelled=1)
    torch.manual_seed(5)
    network = build_unet(ARCHITECTURE)
    save_checkpoint(TEACHER, network, ARCHITECTURE, details={})
    return network


def losses(*, organ: int, where: slice) -> float:
    """The loss of a training whose pseudo-labels are of one organ in some slices, all over them."""
    (record,) = Catalogue.read().split("unlabelled")
    labels = np.zeros(record.shape, np.uint8)
    labels[where] = organ
    with PseudoLabelWriter(PSEUDO_LABELS_DIR, record.id, record.shape) as writer:
        writer.write(Box((0, 0, 0), record.shape), labels)
    seen: list[float] = []
    train_first_student(
        RECIPE,
        Catalogue.read(),
        labels_dir=PSEUDO_LABELS_DIR,
        seed=1,
        ranks=Processes(),
        report=lambda epoch: seen.append(epoch.losses["cross_entropy"]),
    )
    assert list(RESUME_DIR.iterdir()), "it can go on, until it is told to forget"
    return seen[0]


@pytest.mark.slow
def test_it_learns_from_what_the_teacher_wrote(teacher: nn.Module) -> None:
    """Other labels, another loss, though the first training left what it could go on from; with none, the labelled
    slices' alone."""
    first = losses(organ=1, where=slice(None))
    assert losses(organ=3, where=slice(None)) != first
    assert losses(organ=1, where=slice(None)) == first
    assert losses(organ=1, where=slice(0, 0)) not in {first, losses(organ=3, where=slice(None))}
    forget_second_teacher()
    assert not list(RESUME_DIR.iterdir())


@pytest.mark.slow
def test_it_goes_on_from_the_teacher(teacher: nn.Module) -> None:
    """At a rate of next to nothing its weights stay the Teacher's."""
    (record,) = Catalogue.read().split("unlabelled")
    with PseudoLabelWriter(PSEUDO_LABELS_DIR, record.id, record.shape) as writer:
        writer.write(Box((0, 0, 0), record.shape), np.ones(record.shape, np.uint8))
    student = train_first_student(
        RECIPE, Catalogue.read(), labels_dir=PSEUDO_LABELS_DIR, seed=1, ranks=Processes(), report=lambda _epoch: None
    )
    weights = dict(student.named_parameters())
    assert all(torch.allclose(value, weights[name], atol=1e-4) for name, value in teacher.named_parameters())
