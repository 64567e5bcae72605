"""train_teacher: a U-Net learns from the labelled training volumes (sections 2.1 and 3.2 of the paper).

An epoch is as long whatever `prepare.labelled_volumes` is, so that the rows of Table 1 have the same number of steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from training.command import run_command
from training.data.prepared import Catalogue
from training.learning.checkpoints import TEACHER, save_checkpoint
from training.learning.loop import Epoch, last_metrics, write_epochs
from training.learning.networks import Architecture
from training.learning.processes import Processes
from training.learning.run_training import run_training, trained
from training.learning.supervised import Teaching
from training.params import Params, TrainTeacher
from training.profiles import to_dict
from training.run_stage import Report

EPOCHS = Path("plots/train_teacher.csv")


def main() -> None:
    """Runs the stage in the repository root; under torchrun, in each of its processes."""
    run_training("train_teacher", _train, shared=True)


def _train(params: Params, ranks: Processes, report: Callable[[Epoch], None]) -> Report | None:
    metrics = train_teacher(params.train_teacher, seed=params.seed, ranks=ranks, report=report)
    return trained(metrics, epochs=EPOCHS)


def train_teacher(
    section: TrainTeacher, *, seed: int, ranks: Processes, report: Callable[[Epoch], None]
) -> dict[str, float]:
    """Trains the Teacher on the prepared training volumes and writes its checkpoint and epochs.

    Every path is relative to the working directory. `report` is called with each epoch when it is over. Returns its
    metrics, none in every process but the first. Raises StageError where no labelled volume is there to train on.
    """
    began = time.monotonic()
    catalogue = Catalogue.read()
    teaching = Teaching(
        name="train_teacher",
        volumes=catalogue.split("train"),
        organs=catalogue.organs,
        architecture=Architecture(section.encoder, section.encoder_depth, len(catalogue.organs)),
        recipe=section,
        seed=seed,
        epoch_slices=catalogue.slices("train", "reserve"),
    )
    network = teaching.new_network()
    epochs: list[Epoch] = []
    for epoch in teaching.epochs(network, ranks):
        epochs.append(epoch)
        report(epoch)
    if not ranks.first:
        return {}
    details = {
        "stage": "train_teacher",
        "seed": seed,
        "params": to_dict(section),
        "organs": catalogue.organs.to_mapping(),
        "data_sha256": catalogue.data_sha256,
    }
    save_checkpoint(TEACHER, network, teaching.architecture, details=details)
    write_epochs(EPOCHS, epochs)
    teaching.resume(ranks).remove()
    return last_metrics(epochs, seconds=time.monotonic() - began)


if __name__ == "__main__":
    run_command("train_teacher", main)
