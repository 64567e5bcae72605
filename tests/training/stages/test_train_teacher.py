"""Stage train_teacher on a few small fish."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.tiny_volumes import (
    ORGANS,
    TEACHER_SECTION,
    WINDOW,
    fish,
    tiny_data_set,
    write_catalogue,
    write_volume,
)
from training.learning.checkpoints import TEACHER, load_network, read_details
from training.learning.loop import Epoch
from training.learning.prediction import predictor
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR
from training.stages.train_teacher import EPOCHS, train_teacher

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_data_set(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_teacher_learns_the_organs_and_leaves_what_the_next_stages_need(root: Path) -> None:
    """After 60 steps on two fish most organ pixels of a third are right; checkpoint and epochs are there."""
    reported: list[Epoch] = []
    metrics = train_teacher(TEACHER_SECTION, seed=1, ranks=Processes(), report=reported.append)
    image, labels = fish(3)
    found = predictor(load_network(TEACHER), window=WINDOW)(image)
    organ = labels > 0
    assert (found[organ] == labels[organ]).mean() > 0.8
    assert (found[~organ] == 0).mean() > 0.9
    assert read_details(TEACHER)["organs"] == ORGANS.to_mapping()
    assert [epoch.number for epoch in reported] == [1, 2]
    assert EPOCHS.read_text().startswith("epoch,step,learning_rate,loss,cross_entropy,dice_loss\n1,30,")
    assert metrics["steps"] == 60
    assert metrics["loss"] == reported[-1].losses["loss"]
    assert list((root / RESUME_DIR).iterdir()) == []


def test_the_same_seed_gives_the_same_bytes_even_when_it_was_interrupted(root: Path) -> None:
    """Stopped after the first epoch, by the store that it reports to, say; another seed gives other weights."""
    short = replace(TEACHER_SECTION, schedule=replace(TEACHER_SECTION.schedule, steps_per_epoch=2, batch_size=2))

    def made(seed: int) -> bytes:
        train_teacher(short, seed=seed, ranks=Processes(), report=lambda _: None)
        return TEACHER.read_bytes()

    def stop(epoch: Epoch) -> None:
        raise KeyboardInterrupt(epoch)

    undisturbed = made(1)
    TEACHER.unlink()
    with pytest.raises(KeyboardInterrupt):
        train_teacher(short, seed=1, ranks=Processes(), report=stop)
    assert not TEACHER.exists()
    assert made(1) == undisturbed
    assert made(2) != undisturbed


def test_validation_and_reserve_volumes_teach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The label budget counts: with no volume left for training the stage says so instead of reading the others."""
    prepared = tmp_path / "data" / "prepared"
    prepared.mkdir(parents=True)
    write_catalogue(
        prepared,
        write_volume(prepared, "held_out", *fish(0), split="validation"),
        write_volume(prepared, "beyond_budget", *fish(1), split="reserve"),
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="there is no labelled volume to learn from"):
        train_teacher(TEACHER_SECTION, seed=1, ranks=Processes(), report=lambda _: None)


def test_a_checkpoint_s_classes_are_background_and_the_organs(root: Path) -> None:
    """Three organs: four logits, whatever occurs in the labels."""
    short = replace(TEACHER_SECTION, schedule=replace(TEACHER_SECTION.schedule, steps_per_epoch=1, epochs=1))
    train_teacher(short, seed=1, ranks=Processes(), report=lambda _: None)
    with torch.inference_mode():
        logits = load_network(TEACHER)(torch.from_numpy(np.zeros((1, 1, 9, 9), dtype=np.float32)))
    assert logits.shape == (1, 4, 9, 9)
