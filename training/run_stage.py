"""How every stage runs: on its section of params.yaml, inside an MLflow run, and what it reports is written down."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.params import Params, load_params
from training.profiles import to_dict
from training.tracking.runs import StageRun, stage_run


@dataclass(frozen=True)
class Report:
    """What a stage has to say when it is over."""

    metrics: Mapping[str, Any] | None = None
    """What `metrics_file` is to hold; None: the stage has no such file."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the MLflow run."""
    files: tuple[Path, ...] = ()
    """What is kept with the run; a folder under its own name."""


def metrics_file(stage: str) -> Path:
    """Where a stage's metrics stand, as JSON."""
    return Path("metrics") / f"{stage}.json"


class OneProcessOnly(RuntimeError):
    """A stage that one process does was begun in several, each of which would write the same files."""


Section = Callable[[Params], Any]
"""The part of params.yaml that a stage logs with its run."""


def run_stage(
    name: str,
    work: Callable[[Params, StageRun], Report | None],
    *,
    section: Section | None = None,
    shared: bool = False,
) -> None:
    """Runs a stage in the working directory, which is the repository root, on the active profile of params.yaml.

    `section` is what it reads of them; None: the section of its name. The run's seed is the section's own where it has
    one, else that at the top. `shared`: the processes that torchrun started share the work, and `work` gives None in
    all but the one that reports. Raises OneProcessOnly, ParamsError, TrackingError before anything is done, and what
    `work` raises.
    """
    if not shared and (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise OneProcessOnly(
            f"{name} is done by one process, and torchrun started {processes}: run `python -m training.stages.{name}`. "
            f"train_teacher, train_student and train_control are those that share their work"
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    params = load_params()
    read = getattr(params, name) if section is None else section(params)
    with stage_run(name, section=read, seed=params.seed, parameters=to_dict(params)) as run:
        report = work(params, run)
        if report is not None:
            _write_down(report, metrics_file(name), run)


def _write_down(report: Report, path: Path, run: StageRun) -> None:
    if report.metrics is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report.metrics, indent=1) + "\n", encoding="utf-8")
    if report.figures:
        run.metrics(report.figures)
    for file in report.files:
        run.file(file, folder=file.name if file.is_dir() else "")
