"""How a stage that trains runs: as every stage, in each process that torchrun started, its epochs reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from training.learning.loop import Epoch
from training.learning.processes import Processes, processes
from training.params import Params
from training.run_stage import Report, Section, run_stage
from training.tracking.runs import StageRun

Train = Callable[[Params, Processes, Callable[[Epoch], None]], Report | None]
"""Trains, and calls the third argument with each epoch when it is over; None in every process but the first."""


def run_training(name: str, train: Train, *, section: Section | None = None, shared: bool = False) -> None:
    """`run_stage` for a stage that trains: the losses of its epochs go to the MLflow run as they come.

    `section` as in `run_stage`; `shared`: it may be trained by several processes together. Raises OneProcessOnly where
    it may not.
    """

    def work(params: Params, run: StageRun) -> Report | None:
        with processes() as ranks:
            return train(params, ranks, lambda epoch: run.metrics(epoch.losses, step=epoch.number))

    run_stage(name, work, section=section, shared=shared)


def trained(metrics: Mapping[str, float], *, epochs: Path) -> Report | None:
    """The report of a network that was trained: its last losses as `final.LOSS`, and the file of its epochs.

    None where there are no metrics, which is in every process but the first.
    """
    final = {f"final.{name}": value for name, value in metrics.items()}
    return Report(metrics, final, files=(epochs,)) if metrics else None
