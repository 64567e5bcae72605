"""train_teacher: a U-Net learns from the labelled training volumes (sections 2.1 and 3.2 of the paper)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from training.data.prepared import Catalogue
from training.learning.checkpoints import TEACHER, save_checkpoint
from training.learning.loop import Epoch, write_epochs, write_metrics
from training.learning.networks import Architecture
from training.learning.processes import Processes, processes
from training.learning.supervised import Teaching
from training.params import TrainTeacher, load_params, to_dict
from training.tracking import runs

METRICS = Path("metrics/train_teacher.json")
EPOCHS = Path("plots/train_teacher.csv")


def main() -> None:
    """Runs the stage in the repository root; under torchrun, in each of its processes."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    params = load_params()
    with (
        processes() as ranks,
        runs.stage_run("train_teacher", section=params.train_teacher, seed=params.seed) as run,
    ):
        metrics = train_teacher(
            params.train_teacher,
            seed=params.seed,
            ranks=ranks,
            report=lambda epoch: run.metrics(epoch.losses, step=epoch.number),
        )
        if ranks.first:
            run.metrics({f"final.{name}": value for name, value in metrics.items()})
            run.file(EPOCHS)


def train_teacher(
    section: TrainTeacher, *, seed: int, ranks: Processes, report: Callable[[Epoch], None]
) -> dict[str, float]:
    """Trains the Teacher on the prepared training volumes and writes its checkpoint, epochs and metrics.

    Every path is relative to the working directory. `report` is called with each epoch when it is over. Returns what is
    in the metrics file. Raises ValueError where no labelled volume is there to train on.
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
    metrics = write_metrics(METRICS, epochs, seconds=time.monotonic() - began)
    teaching.resume(ranks).remove()
    return metrics


if __name__ == "__main__":
    main()
