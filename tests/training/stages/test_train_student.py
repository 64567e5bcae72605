"""Stage train_student: each of its switches alone, on a few small fish."""

import hashlib
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.tiny_volumes import STUDENT_SECTION, TEACHER_SECTION, tiny_data_set
from training.data.pseudo_labels import REFINED_DIR, write_refined
from training.learning.checkpoints import STUDENT, TEACHER, CheckpointError, load_network, read_details, save_checkpoint
from training.learning.losses import distillation
from training.learning.networks import Architecture, build_unet
from training.learning.processes import Processes
from training.params import TrainStudent
from training.stages.train_student import EPOCHS, train_student

ARCHITECTURE = Architecture(TEACHER_SECTION.encoder, TEACHER_SECTION.encoder_depth, organs=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labelled fish, one pseudo-labelled, and a Teacher that has learnt nothing."""
    folder = tmp_path_factory.mktemp("made")
    tiny_data_set(folder)
    torch.manual_seed(5)
    save_checkpoint(folder / TEACHER, build_unet(ARCHITECTURE), ARCHITECTURE, details={})
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(section: TrainStudent) -> dict[str, float]:
    return train_student(section, seed=1, ranks=Processes(), report=lambda _: None)


def without_learning(section: TrainStudent) -> TrainStudent:
    return replace(section, schedule=replace(section.schedule, learning_rate=0.0))


def test_the_loss_is_that_of_the_paper_and_the_teacher_stays_as_it_is(root: Path) -> None:
    """(1 - alpha) CE + alpha KL of what is reported; the Teacher's file and the epochs' columns are as they should."""
    before = TEACHER.read_bytes()
    metrics = trained(replace(STUDENT_SECTION, alpha=0.25))
    assert metrics["loss"] == pytest.approx(0.75 * metrics["cross_entropy"] + 0.25 * metrics["distillation"])
    assert metrics["distillation"] > 0
    assert TEACHER.read_bytes() == before
    assert EPOCHS.read_text().startswith("epoch,step,learning_rate,loss,cross_entropy,distillation\n")
    details = read_details(STUDENT)
    assert details["teacher_sha256"] == hashlib.sha256(before).hexdigest()
    assert details["refined_slices"] == 6
    assert load_network(STUDENT)(torch.zeros(1, 1, 16, 16)).shape == (1, 4, 16, 16)


def test_a_higher_temperature_softens_the_distillation_term(root: Path) -> None:
    """The same weights and patches, tau 1 and 8: the term shrinks by about the square of tau."""
    sharp = trained(without_learning(replace(STUDENT_SECTION, temperature=1.0)))["distillation"]
    soft = trained(without_learning(replace(STUDENT_SECTION, temperature=8.0)))["distillation"]
    assert 0 < soft < sharp / 16


def test_a_student_starts_from_the_teacher_s_weights_when_switched_on(root: Path) -> None:
    """With a learning rate of 0 its weights are the Teacher's; switched off they are new ones, of the seed."""
    trained(without_learning(STUDENT_SECTION))
    assert same_parameters(load_network(STUDENT), load_network(TEACHER))
    trained(without_learning(replace(STUDENT_SECTION, teacher_checkpoint=False)))
    torch.manual_seed(1)
    new = build_unet(ARCHITECTURE)
    assert same_parameters(load_network(STUDENT), new)


def same_parameters(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_without_distillation_the_loss_is_the_cross_entropy(root: Path) -> None:
    """Table 2, pseudo-labelling alone."""
    metrics = trained(replace(STUDENT_SECTION, distillation=False))
    assert "distillation" not in metrics
    assert metrics["loss"] == metrics["cross_entropy"]


def test_without_pseudo_labels_none_are_read(root: Path) -> None:
    """Table 2, fully supervised: the stage runs where neither refined nor pseudo-labels exist."""
    shutil.rmtree(root / "data" / "refined")
    shutil.rmtree(root / "data" / "pseudo_labels")
    trained(replace(STUDENT_SECTION, pseudo_labels=False))
    assert read_details(STUDENT)["refined_slices"] == 0


def test_a_student_without_any_kept_slice_says_so_and_learns_from_labelled_ones(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The weights are those of a Student whose pseudo-labels are switched off."""
    write_refined(REFINED_DIR, [], volumes={})
    with caplog.at_level(logging.WARNING):
        trained(STUDENT_SECTION)
    assert "refine kept no pseudo-labelled slice; learning from labelled slices alone" in caplog.text
    bare = load_network(STUDENT)
    trained(replace(STUDENT_SECTION, pseudo_labels=False))
    assert same_parameters(load_network(STUDENT), bare)


def test_pseudo_labels_change_what_is_learnt(root: Path) -> None:
    """The Student of all three switches is not the one that saw labelled slices alone."""
    trained(STUDENT_SECTION)
    with_them = load_network(STUDENT)
    trained(replace(STUDENT_SECTION, pseudo_labels=False))
    assert not same_parameters(load_network(STUDENT), with_them)


def test_without_a_teacher_the_stage_says_which_file_is_missing(root: Path) -> None:
    """Rather than starting from new weights."""
    TEACHER.unlink()
    with pytest.raises(CheckpointError, match=r"models/teacher/checkpoint\.pt does not exist"):
        trained(STUDENT_SECTION)


def test_the_teacher_is_shown_the_student_s_patches_in_evaluation_mode(root: Path) -> None:
    """Its running statistics, not those of the batch: a Student with the same weights has a term greater than 0."""
    metrics = trained(without_learning(replace(STUDENT_SECTION, pseudo_labels=False)))
    teacher, student = load_network(TEACHER), load_network(TEACHER).train()
    patch = torch.rand(4, 1, 32, 32)
    with torch.inference_mode():
        term = distillation(student(patch), teacher(patch), temperature=STUDENT_SECTION.temperature)
    assert term > 0
    assert metrics["distillation"] > 0
