"""A training that can be stopped at a step for as long as it takes to kill it; run as a script by test_loop.

Usage: killed_training.py FOLDER STEP: trains a small network in FOLDER; at STEP it says so and waits; -1 never waits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from training.learning.checkpoints import write_atomically
from training.learning.loop import Epoch, Plan, train
from training.learning.processes import Processes
from training.learning.resume import ResumeFile
from training.recipe import Schedule


class Pair(NamedTuple):
    inputs: Tensor
    targets: Tensor


class Pairs(Dataset[Pair]):
    def __getitem__(self, step: int) -> Pair:
        rng = np.random.default_rng([0, step])
        inputs = torch.from_numpy(rng.standard_normal((8, 1, 8, 8), dtype=np.float32))
        return Pair(inputs, 2 * inputs.mean(dim=(1, 2, 3)) + 1)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 1)
    return nn.Sequential(*layers)


def plan_in(folder: Path, *, fingerprint: str = "the same", workers: int = 0, save_seconds: float = 0.0) -> Plan:
    """Four epochs of five steps, saved after each step."""
    return Plan(
        name="small",
        schedule=Schedule(epochs=4, steps_per_epoch=5, batch_size=8, learning_rate=0.01, one_cycle=True, averaging=0.9),
        steps_per_epoch=5,
        workers=workers,
        resume=ResumeFile(folder / ".resume" / "small.pt", fingerprint),
        save_seconds=save_seconds,
    )


def squared_error(model: nn.Module, batch: Pair) -> Mapping[str, Tensor]:
    error = model(batch.inputs)[:, 0] - batch.targets
    return {"loss": error.square().mean(), "bias": error.mean()}


def train_small(folder: Path, *, plan: Plan | None = None, wait_at: int = -1) -> tuple[nn.Module, list[Epoch]]:
    network = small_network()
    steps = 0

    def objective(model: nn.Module, batch: Pair) -> Mapping[str, Tensor]:
        nonlocal steps
        if steps == wait_at:
            (folder / "waiting").touch()
            time.sleep(1000)
        steps += 1
        return squared_error(model, batch)

    epochs = list(train(network, Pairs(), objective, plan=plan or plan_in(folder), processes=Processes()))
    return network, epochs


if __name__ == "__main__":
    trained, seen = train_small(Path(sys.argv[1]), wait_at=int(sys.argv[2]))
    write_atomically(Path(sys.argv[1]) / "weights.pt", {"weights": trained.state_dict()})
