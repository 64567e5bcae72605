"""train_control: the Teacher given the Student's further steps, on labelled slices alone.

What a Student is better by than this network, it owes to its pseudo-labels; the rest, to having been trained longer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.command import run_command
from training.data.prepared import Catalogue
from training.learning.checkpoints import CONTROL
from training.learning.further_training import FurtherTraining, train_further
from training.learning.loop import Epoch
from training.learning.processes import Processes
from training.learning.run_training import run_training, trained
from training.params import Params
from training.recipe import Supervised
from training.run_stage import Report

EPOCHS = Path("plots/train_control.csv")


def main() -> None:
    """Runs the stage in the repository root; under torchrun, in each of its processes."""
    run_training("train_control", _train, section=lambda params: params.train_student.supervised, shared=True)


def _train(params: Params, ranks: Processes, report: Callable[[Epoch], None]) -> Report | None:
    metrics = train_control(params.train_student.supervised, seed=params.seed, ranks=ranks, report=report)
    return trained(metrics, epochs=EPOCHS)


def train_control(
    recipe: Supervised, *, seed: int, ranks: Processes, report: Callable[[Epoch], None]
) -> dict[str, float]:
    """Trains the control by the Student's recipe and writes its checkpoint and epochs, as `train_further` does."""
    training = FurtherTraining(name="train_control", recipe=recipe, catalogue=Catalogue.read(), seed=seed)
    return train_further(training, checkpoint=CONTROL, epochs_file=EPOCHS, ranks=ranks, report=report)


if __name__ == "__main__":
    run_command("train_control", main)
