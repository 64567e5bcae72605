"""Stage train_student: each of its switches alone, on a few small fish."""

import hashlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from scans.geometry import Box
from tests.training.tiny_volumes import STILL, STUDENT_SECTION, TEACHER_SECTION, tiny_data_set
from training.data.prepared import Catalogue
from training.data.pseudo_labels import REFINED_DIR, PseudoLabelWriter, read_refined, write_refined
from training.learning.checkpoints import STUDENT, TEACHER, CheckpointError, load_network, read_details, save_checkpoint
from training.learning.loop import Epoch
from training.learning.losses import distillation
from training.learning.networks import Architecture, build_unet
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR, Interval
from training.params import TrainStudent
from training.recipe import Schedule
from training.stages.train_student import EPOCHS, train_student

pytestmark = pytest.mark.slow

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


OPEN = Schedule(epochs=1, steps_per_epoch=0, batch_size=4, learning_rate=0.001, one_cycle=False, averaging=0.0)
"""An epoch is as long as there are slices: 12 labelled and 6 unlabelled ones make 5 batches of 4."""
TEACHER_SCHEDULE = replace(OPEN, epochs=2, batch_size=8)
"""Two epochs of 12 labelled slices, 2 batches of 8 each: 4 steps."""


def trained(
    section: TrainStudent, *, teacher: Schedule = TEACHER_SCHEDULE, report: Callable[[Epoch], None] = lambda _: None
) -> dict[str, float]:
    return train_student(section, teacher_schedule=teacher, seed=1, ranks=Processes(), report=report)


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
    still = replace(TEACHER_SCHEDULE, learning_rate=0.0)
    trained(without_learning(replace(STUDENT_SECTION, teacher_checkpoint=False)), teacher=still)
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


def test_what_refine_changed_is_what_is_learnt(root: Path) -> None:
    """The same kept slices with other labels in data/refined: another loss."""
    before = trained(without_learning(STUDENT_SECTION))
    kept, record = read_refined(), Catalogue.read().split("unlabelled")[0]
    with PseudoLabelWriter(REFINED_DIR, record.id, record.shape) as writer:
        writer.write(Box.of_shape(record.shape), np.full(record.shape, 3, dtype=np.uint8))
    write_refined(REFINED_DIR, kept, volumes={}, changed=True)
    assert trained(without_learning(STUDENT_SECTION))["cross_entropy"] != before["cross_entropy"]


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


def test_labelled_patches_may_have_the_last_word(root: Path) -> None:
    """From the first step on they make the training on labels alone; of a Student with new weights, whose first steps
    stand for the Teacher's, they are the last of the rest."""
    labels = trained(without_learning(replace(STUDENT_SECTION, pseudo_labels=False)))
    last = trained(without_learning(replace(STUDENT_SECTION, last_labelled=1.0)))
    assert last["cross_entropy"] == labels["cross_entropy"]
    assert trained(without_learning(STUDENT_SECTION))["cross_entropy"] != labels["cross_entropy"]
    losses: dict[float, list[float]] = {0.0: [], 1.0: []}
    for share, seen in losses.items():
        section = replace(STUDENT_SECTION, teacher_checkpoint=False, last_labelled=share)
        trained(section, report=lambda epoch, seen=seen: seen.append(epoch.losses["loss"]))
    assert losses[0.0][:2] == losses[1.0][:2]
    assert losses[0.0][2] != losses[1.0][2]


def test_the_teacher_may_see_patches_as_they_were(root: Path) -> None:
    """Of patches whose grey values nobody changed the term is the same; of noisy ones the Teacher says other things."""
    still, noisy = STUDENT_SECTION, replace(STUDENT_SECTION, augmentation=replace(STILL, noise=0.5))
    for section, same in ((still, True), (noisy, False)):
        terms = [
            trained(without_learning(replace(section, clean_view=clean)))["distillation"] for clean in (False, True)
        ]
        assert (terms[0] == pytest.approx(terms[1], rel=1e-3)) is same


def test_consistency_is_learnt_where_it_has_a_weight(root: Path) -> None:
    """Nothing of it without; with it, the term is there and its weight times it is in the loss."""
    assert "consistency" not in trained(without_learning(STUDENT_SECTION))
    found = trained(without_learning(replace(STUDENT_SECTION, distillation=False, consistency=2.0)))
    assert found["loss"] == pytest.approx(found["cross_entropy"] + 2 * found["consistency"], rel=1e-4)
    assert found["consistency"] > 0


@pytest.mark.parametrize(("pseudo_labels", "distilled", "checkpoint"), list(product((True, False), repeat=3)))
def test_every_row_has_as_many_steps(root: Path, pseudo_labels: bool, distilled: bool, checkpoint: bool) -> None:
    """5 steps after the Teacher's, whatever the switches are; with new weights, the Teacher's 4 come before them."""
    switches = {"pseudo_labels": pseudo_labels, "distillation": distilled, "teacher_checkpoint": checkpoint}
    epochs: list[Epoch] = []
    metrics = trained(replace(STUDENT_SECTION, schedule=OPEN, **switches), report=epochs.append)
    assert metrics["steps"] == (5 if checkpoint else 4 + 5)
    assert [(epoch.number, epoch.step) for epoch in epochs] == ([(1, 5)] if checkpoint else [(1, 2), (2, 4), (3, 9)])
    assert EPOCHS.read_text().splitlines()[-1].startswith(f"{len(epochs)},{metrics['steps']},")


@pytest.mark.parametrize("kept", [0, 1, 6])
def test_an_epoch_is_as_long_however_many_slices_were_kept(root: Path, kept: int) -> None:
    """Without a classifier six slices are kept, with one fewer, or none: it is 5 steps in each case."""
    write_refined(REFINED_DIR, read_refined()[:kept], volumes={})
    assert trained(replace(STUDENT_SECTION, schedule=OPEN))["steps"] == 5


def test_a_label_budget_makes_no_epoch_shorter(root: Path) -> None:
    """Table 1: with one labelled volume of two in reserve the steps are those of both, 5, and 4 before them."""
    catalogue = Catalogue.read()
    first, second, unlabelled = catalogue.volumes
    replace(catalogue, volumes=(first, replace(second, split="reserve"), unlabelled)).write(root / "data" / "prepared")
    assert trained(replace(STUDENT_SECTION, schedule=OPEN, teacher_checkpoint=False))["steps"] == 4 + 5


def test_new_weights_are_trained_at_the_teacher_s_rate_first(root: Path) -> None:
    """One cycle over the Teacher's 4 steps, which ends at almost nothing; then the Student's own, constant."""
    epochs: list[Epoch] = []
    cycle = replace(TEACHER_SCHEDULE, learning_rate=0.01, one_cycle=True, averaging=0.0)
    trained(replace(STUDENT_SECTION, schedule=OPEN, teacher_checkpoint=False), teacher=cycle, report=epochs.append)
    assert epochs[0].learning_rate > 0.001
    assert [epoch.learning_rate for epoch in epochs[1:]] == [pytest.approx(0.01 * 1e-4), 0.001]


@pytest.mark.parametrize("over", [0, 1, 2])
def test_a_training_with_new_weights_goes_on_where_it_was_killed(
    root: Path, over: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first, second or third epoch, of either schedule, it ends with the same weights and epochs."""
    monkeypatch.setattr(Interval, "is_over", lambda _: True)  # saved after every step
    section = replace(STUDENT_SECTION, schedule=replace(OPEN, epochs=2), teacher_checkpoint=False)
    whole = trained(section)
    expected, written = load_network(STUDENT), EPOCHS.read_text()

    def die(epoch: Epoch) -> None:
        if epoch.number > over:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(section, report=die)
    again = trained(section)
    assert same_parameters(load_network(STUDENT), expected)
    assert (EPOCHS.read_text(), again["steps"]) == (written, whole["steps"])
    assert not list(RESUME_DIR.iterdir())
