"""The training loop: it learns, reports, gives the same numbers each time, and goes on where it was killed."""

import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import killed_training
import pytest
import torch
from killed_training import Pairs, plan_in, small_network, squared_error, train_small
from torch import nn

from training.learning.loop import (
    Epoch,
    last_metrics,
    learning_rate,
    steps_per_epoch,
    train,
    write_epochs,
)
from training.learning.processes import Processes, has_bfloat16
from training.recipe import Schedule

CONSTANT = Schedule(epochs=2, steps_per_epoch=0, batch_size=8, learning_rate=0.25, one_cycle=False, averaging=0.0)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, list[Epoch]]:
    return train_small(tmp_path_factory.mktemp("undisturbed"))


def test_each_epoch_is_reported_with_its_mean_losses(tmp_path: Path) -> None:
    """With a learning rate of 0 they are the losses of the first weights on each batch of the epoch."""
    plan = plan_in(tmp_path)
    still = replace(plan, schedule=replace(plan.schedule, learning_rate=0.0, epochs=2))
    network = small_network()
    epochs = list(train(network, Pairs(), squared_error, plan=still, processes=Processes()))
    first = small_network().to(memory_format=torch.channels_last).train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bfloat16(torch.device("cpu"))):
        expected = [squared_error(first, Pairs()[step])["loss"].item() for step in range(10)]
    assert [(epoch.number, epoch.step) for epoch in epochs] == [(1, 5), (2, 10)]
    assert epochs[0].losses["loss"] == pytest.approx(sum(expected[:5]) / 5, rel=1e-5)
    assert epochs[1].losses["loss"] == pytest.approx(sum(expected[5:]) / 5, rel=1e-5)
    assert set(epochs[0].losses) == {"loss", "bias"}


@pytest.mark.parametrize("feature", ["avx2", "avx512_bf16", "amx_bf16"])
def test_a_processor_that_has_bfloat16_computes_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature: str
) -> None:
    """What the network gives, not its weights or their gradients."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, feature: True})
    seen: set[torch.dtype] = set()

    def error(network: nn.Module, batch: Any) -> Mapping[str, torch.Tensor]:
        found = network(batch.inputs)[:, 0]
        seen.add(found.dtype)
        return {"loss": ((found.float() - batch.targets) ** 2).mean()}

    network, processes = small_network(), Processes()
    for _ in train(network, Pairs(), error, plan=plan_in(tmp_path), processes=processes):
        pass
    assert processes.arithmetic == ("cpu float32" if feature == "avx2" else "cpu bfloat16")
    assert seen == {torch.float32 if feature == "avx2" else torch.bfloat16}
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


def test_the_loss_falls(undisturbed: tuple[nn.Module, list[Epoch]]) -> None:
    """Twenty steps on a linear task, from an error of about 1."""
    losses = [epoch.losses["loss"] for epoch in undisturbed[1]]
    assert losses[-1] < losses[0] / 2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_with_and_without_worker_processes(
    tmp_path: Path, undisturbed: tuple[nn.Module, list[Epoch]]
) -> None:
    """Once more, with batches made in another process and nothing saved on the way."""
    network, epochs = train_small(tmp_path, plan=plan_in(tmp_path, workers=1, save_seconds=1e6))
    assert same_weights(network, undisturbed[0])
    assert epochs == undisturbed[1]


@pytest.mark.process
def test_a_killed_training_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, undisturbed: tuple[nn.Module, list[Epoch]]
) -> None:
    """SIGKILL in the middle of the second epoch; weights, running statistics and reported epochs are as without."""
    environment = {**os.environ, "PYTHONPATH": str(Path(killed_training.__file__).parent)}
    command = [sys.executable, killed_training.__file__, str(tmp_path), "7"]
    victim = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "waiting").exists():
            assert victim.poll() is None, "the training ended before it was killed"
            assert time.monotonic() < deadline, "the training did not get to step 7"
            time.sleep(0.05)
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    state = plan_in(tmp_path).resume.load()
    assert state is not None
    assert state["step"] == 7
    network, epochs = train_small(tmp_path)
    assert same_weights(network, undisturbed[0])
    assert epochs == undisturbed[1]


def test_a_training_killed_after_its_last_step_is_not_done_again(
    tmp_path: Path, undisturbed: tuple[nn.Module, list[Epoch]]
) -> None:
    """The state of the end stays until the caller, who has written the checkpoint by then, removes it."""
    train_small(tmp_path)
    steps_made: list[int] = []
    network, plan = small_network(), plan_in(tmp_path)

    def objective(model: nn.Module, batch: killed_training.Pair) -> dict[str, torch.Tensor]:
        steps_made.append(1)
        return dict(squared_error(model, batch))

    epochs = list(train(network, Pairs(), objective, plan=plan, processes=Processes()))
    assert steps_made == []
    assert same_weights(network, undisturbed[0])
    assert epochs == undisturbed[1]
    plan.resume.remove()
    assert list((tmp_path / ".resume").iterdir()) == []


def test_the_state_of_another_training_is_not_gone_on_with(
    tmp_path: Path, undisturbed: tuple[nn.Module, list[Epoch]], caplog: pytest.LogCaptureFixture
) -> None:
    """Other parameters: another fingerprint; it says so and starts over. So it does where the file is damaged."""
    path = plan_in(tmp_path).resume.path
    train_small(tmp_path, plan=plan_in(tmp_path, fingerprint="another"))
    network, _ = train_small(tmp_path)
    assert same_weights(network, undisturbed[0])
    assert f"{path} is of a training with other parameters or data; training starts over" in caplog.text
    path.write_bytes(path.read_bytes()[:2000])
    network, _ = train_small(tmp_path)
    assert same_weights(network, undisturbed[0])
    assert f"{path} cannot be read" in caplog.text


def test_nothing_but_a_line_an_epoch_is_said_where_there_is_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No bar in a log file."""
    caplog.set_level(logging.INFO)
    train_small(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert len(caplog.messages) == 4
    assert caplog.messages[0].startswith("small: epoch 1 of 4, loss ")


def test_one_cycle_warms_up_to_the_peak_and_anneals() -> None:
    """Of 101 steps the first 30 % warm up from 1/25; half-way up a cosine is the mean of both ends."""
    cycle = replace(CONSTANT, one_cycle=True, averaging=0.0)
    rates = [learning_rate(cycle, step=step, steps=100) for step in range(100)]
    assert rates[0] == pytest.approx(0.25 / 25)
    assert rates[15] == pytest.approx(0.25 * (1 + 1 / 25) / 2)
    assert rates[30] == max(rates) == pytest.approx(0.25)
    assert rates[99] == pytest.approx(0.25e-4)
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert math.isclose(learning_rate(CONSTANT, step=70, steps=100), 0.25)


def test_an_epoch_without_a_number_of_steps_sees_as_many_patches_as_there_are_slices() -> None:
    """17 slices in batches of 8 are three steps; a number that is given is kept."""
    assert steps_per_epoch(CONSTANT, slices=17) == 3
    assert steps_per_epoch(replace(CONSTANT, steps_per_epoch=50), slices=17) == 50


def test_epochs_and_metrics_are_written_for_dvc(tmp_path: Path) -> None:
    """A line for each epoch, with a header; the last one's losses as metrics."""
    epochs = [
        Epoch(1, 5, 0.5, {"loss": 2.0, "cross_entropy": 1.0}),
        Epoch(2, 10, 0.25, {"loss": 1.0, "cross_entropy": 0.5}),
    ]
    write_epochs(tmp_path / "plots" / "a.csv", epochs)
    assert (tmp_path / "plots" / "a.csv").read_text() == (
        "epoch,step,learning_rate,loss,cross_entropy\n1,5,0.5,2.0,1.0\n2,10,0.25,1.0,0.5\n"
    )
    assert last_metrics(epochs, seconds=1.26) == {"steps": 10, "loss": 1.0, "cross_entropy": 0.5, "seconds": 1.3}
