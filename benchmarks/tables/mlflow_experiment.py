"""A table as an MLflow experiment: one run per cell, and one with the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.tables.measuring import Cell, Protocol
from training.tracking import runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FILES = "table"
"""Name of the run that has the files."""


def log_table(protocol: Protocol, cells: Sequence[Cell], *, files: Sequence[Path]) -> None:
    """Logs the cells that are not there yet, and a run with the files. Raises TrackingError."""
    client = runs.connect()
    found = client.get_experiment_by_name(protocol.name)
    experiment = found.experiment_id if found else client.create_experiment(protocol.name)
    there = {run.info.run_name for run in client.search_runs([experiment], max_results=10_000)}
    for cell in cells:
        name = f"seed {cell.seed}, {cell.budget} volumes, {cell.row}, Dice {cell.dice:.6f}"
        if name not in there:
            _log_cell(client, experiment, name, cell)
    run = client.create_run(experiment, run_name=_FILES)
    for file in files:
        client.log_artifact(run.info.run_id, str(file))
    client.set_terminated(run.info.run_id)


def _log_cell(client: MlflowClient, experiment: str, name: str, cell: Cell) -> None:
    run = client.create_run(experiment, run_name=name).info.run_id
    for parameter in ("row", "budget", "seed", "machine", "commit"):
        client.log_param(run, parameter, getattr(cell, parameter))
    figures = {"dice": cell.dice, "iou": cell.iou, "hd95_mm": cell.hd95_mm, "seconds": cell.seconds}
    organs = {f"dice.{organ}": dice for organ, dice in cell.organs.items()}
    for metric, value in {**figures, **organs}.items():
        if value is not None:
            client.log_metric(run, metric, value)
    client.set_terminated(run)
