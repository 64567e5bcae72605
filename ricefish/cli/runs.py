"""`ricefish runs`: every `dvc repro` with its headline, to compare. Imports the training environment when called."""

# ruff: noqa: PLC0415  the training environment takes seconds to import, and only this command needs it
from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ricefish.cli.mistakes import in_one_line
from ricefish.cli.tables import print_whole
from scans.tracking import require_store

if TYPE_CHECKING:
    from training.tracking.history import PastRun

_FIGURES = {
    "student_dice": "Student Dice",
    "control_dice": "Control Dice",
    "teacher_dice": "Teacher Dice",
    "student_iou": "Student IoU",
    "control_iou": "Control IoU",
    "classifier_auc": "Classifier AUC",
}


def runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all parameters and metrics.")] = False,
) -> None:
    """Shows the runs of the pipeline, from the MLflow store that MLFLOW_TRACKING_URI names, else from mlflow.db."""
    with in_one_line("runs"):
        from training.tracking.history import past_runs

        require_store()
        found = past_runs(limit=limit)
    if as_json:
        typer.echo(json.dumps([_entry(run) for run in found], indent=2))
        return
    if not found:
        typer.echo("No run is recorded; `dvc repro` makes one.", err=True)
        return
    table = Table("Started", "Run", "Status", "Profile", *_FIGURES.values(), "Model", "Commit")
    for run in found:
        figures = [f"{run.metrics[name]:.4f}" if name in run.metrics else "" for name in _FIGURES]
        commit = run.git_commit[:10] + ("+" if run.git_dirty else "")
        model = (run.model or "").removeprefix("models:/")
        started = f"{run.started.astimezone():%Y-%m-%d %H:%M}"
        table.add_row(started, run.id[:8], run.status.lower(), run.profile, *figures, model, commit)
    print_whole(table)


def _entry(run: PastRun) -> dict[str, Any]:
    return {**dataclasses.asdict(run), "started": run.started.isoformat()}
