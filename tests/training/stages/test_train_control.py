"""Stage train_control: the Teacher, trained on as the Student is, on labelled slices alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.tiny_volumes import STUDENT_SECTION, TEACHER_SECTION, tiny_data_set
from training.learning.checkpoints import CONTROL, STUDENT, TEACHER, load_network, read_details, save_checkpoint
from training.learning.networks import Architecture, build_unet
from training.learning.processes import Processes
from training.params import TrainStudent
from training.profiles import to_dict
from training.stages import train_control, train_student

pytestmark = pytest.mark.slow

ARCHITECTURE = Architecture(TEACHER_SECTION.encoder, TEACHER_SECTION.encoder_depth, organs=3)
SECTION = replace(STUDENT_SECTION, schedule=replace(STUDENT_SECTION.schedule, steps_per_epoch=0))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve labelled slices, six pseudo-labelled ones, and a Teacher that has learnt nothing."""
    tiny_data_set(tmp_path)
    torch.manual_seed(5)
    save_checkpoint(tmp_path / TEACHER, build_unet(ARCHITECTURE), ARCHITECTURE, details={})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def control(section: TrainStudent) -> dict[str, float]:
    return train_control.train_control(section.supervised, seed=1, ranks=Processes(), report=lambda _: None)


def student(section: TrainStudent) -> dict[str, float]:
    schedule = TEACHER_SECTION.schedule
    return train_student.train_student(
        section, teacher_schedule=schedule, seed=1, ranks=Processes(), report=lambda _: None
    )


def test_the_control_has_the_student_s_steps_and_none_of_its_labels(root: Path) -> None:
    """18 slices are 5 batches of 4 for both; the control runs where there is no pseudo-label at all."""
    assert student(SECTION)["steps"] == 5
    shutil.rmtree(root / "data" / "refined")
    shutil.rmtree(root / "data" / "pseudo_labels")
    metrics = control(SECTION)
    assert (metrics["steps"], set(metrics)) == (5, {"steps", "loss", "cross_entropy", "seconds"})
    details = read_details(CONTROL)
    assert (details["stage"], details["refined_slices"]) == ("train_control", 0)
    assert set(details["params"]) == set(to_dict(SECTION.supervised))
    first, last = train_control.EPOCHS.read_text().splitlines()
    assert (first, last.split(",")[:2]) == ("epoch,step,learning_rate,loss,cross_entropy", ["1", "5"])
    assert load_network(CONTROL)(torch.zeros(1, 1, 16, 16)).shape == (1, 4, 16, 16)


def test_the_control_starts_from_the_teacher_whatever_the_student_s_switches_are(root: Path) -> None:
    """With a rate of 0 its weights are the Teacher's, and the file is the same bytes with every switch turned."""
    still = replace(SECTION, schedule=replace(SECTION.schedule, learning_rate=0.0))
    control(still)
    written = CONTROL.read_bytes()
    of_both = zip(load_network(CONTROL).parameters(), load_network(TEACHER).parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in of_both)
    turned = {"pseudo_labels": False, "distillation": False, "teacher_checkpoint": False, "alpha": 0.9}
    control(replace(still, **turned))
    assert CONTROL.read_bytes() == written


def test_the_control_s_batch_statistics_are_learnt_as_the_student_s_are(root: Path) -> None:
    """Both follow the patches that they see, from the Teacher's on."""
    student(SECTION)
    control(SECTION)
    teacher, *others = (load_network(path).state_dict() for path in (TEACHER, CONTROL, STUDENT))
    (name, *_) = (name for name in teacher if name.endswith("running_mean"))
    assert all(not torch.equal(other[name], teacher[name]) for other in others)
