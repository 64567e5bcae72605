"""Tables 1 and 2 of the paper: what each part of the recipe gives beyond more training, at which label budget.

    python -m benchmarks.tables 1                       # the paper's whole and the strong one over label budgets
    python -m benchmarks.tables 2 --budgets 7           # every row of Table 2
    python -m benchmarks.tables 1 --profile headneck_ct --raw /data/headneck_ct --budgets 2 4 9

Runs up to stage evaluate, one training after the other; stages that rows have in common run once, and a command that
ended goes on where it was. Writes benchmarks/results/table-N-PROFILE.json with .csv, .md and .png beside it, and an
MLflow experiment of that name.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import clone
from benchmarks.effort import Effort, effort_of
from benchmarks.tables.measuring import (
    PHANTOMS,
    Cell,
    Protocol,
    comparable,
    decided_by,
    measured,
    read_cells,
    write_cells,
)
from benchmarks.tables.mlflow_experiment import log_table
from benchmarks.tables.picture import draw_table
from benchmarks.tables.rows import ROWS, TABLES, TUNING_SEEDS
from benchmarks.tables.summary import as_csv, as_markdown, lines

FISH: Mapping[str, Any] = {
    "prepare.phantoms.labelled": 23,
    "prepare.phantoms.unlabelled": 30,
    "prepare.phantoms.validation": 30,
    "train_teacher.schedule.epochs": 12,
    "label_quality.schedule.epochs": 6,
    "train_student.schedule.epochs": 8,
}
"""The synthetic data set, of as many labelled volumes as the paper learns from and enough to measure on; and longer
trainings than the demo's, of the Teacher three times, of Student and control twice as long: what a Teacher is still to
learn from its labels would else hide what pseudo-labels are worth."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where a run fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description="Tables 1 and 2 of the paper")
    parser.add_argument("table", type=int, choices=TABLES, nargs="?", default=1, help="1: label budgets; 2: parts")
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, help="default: those of the table; a row's control is always there"
    )
    parser.add_argument(
        "--budgets", type=int, nargs="+", default=[2, 7, 12, 23], help="labelled volumes (default: 2 7 12 23)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="of data, weights and patches (default: 1 2 3)"
    )
    parser.add_argument("--data-seed", type=int, help="seed of the data of every run (default: each seed's own data)")
    parser.add_argument("--profile", default="demo", help="profile of params.yaml (default: demo)")
    parser.add_argument("--raw", type=Path, default=PHANTOMS, help="folder of raw volumes (default: the phantoms')")
    parser.add_argument("--jobs", type=int, default=1, help="seeds and budgets under way at once (default: 1)")
    try:
        effort = effort_of(parser, arguments, least={"budgets": [2], "seeds": [1], "rows": ["all"]})
        measure(_protocol(effort), effort, jobs=effort.options.jobs)
    except clone.BenchmarkError as error:
        raise SystemExit(f"tables: {error}") from None


def _protocol(effort: Effort) -> Protocol:
    given = effort.options
    variant = clone.active_variant(profile=given.profile, raw_dir=given.raw)
    synthetic = given.raw.resolve() == PHANTOMS
    rows = given.rows or [row for row in TABLES[given.table] if synthetic or not ROWS[row].synthetic]
    if unlike := [row for row in rows if ROWS[row].synthetic and not synthetic]:
        raise clone.BenchmarkError(f"row {unlike[0]} is of synthetic fish; leave --raw out, or the row")
    if tuned := TUNING_SEEDS.intersection(given.seeds if synthetic else ()):
        raise clone.BenchmarkError(f"on fish of seed {min(tuned)} values of the rows were chosen; give other --seeds")
    fish = FISH if synthetic and not effort.quick else {}
    fixed = {} if given.data_seed is None else {"prepare.seed": given.data_seed}
    return Protocol(
        table=given.table,
        rows=tuple(rows),
        budgets=tuple(given.budgets),
        seeds=tuple(given.seeds),
        variant=dataclasses.replace(variant, changes={**fish, **fixed}, smallest=effort.quick),
    )


def measure(protocol: Protocol, effort: Effort, *, jobs: int = 1) -> None:
    """Measures what is missing and leaves all files. Raises BenchmarkError if a run fails; cells before it are kept."""
    console, decided = Console(), decided_by(protocol)
    known = comparable(read_cells(effort.folder / f"{protocol.name}.json", decided=decided), protocol)
    kept = {cell.place: cell for cell in known}
    for number, cell in enumerate(measured(protocol, known, jobs=jobs), start=1):
        kept[cell.place] = cell
        path = write_cells(
            list(kept.values()), protocol, decided=decided, write=effort.write, about={"table": protocol.table}
        )
        done = f"{number} of {len(protocol.places)}"
        console.print(
            f"{done}: seed {cell.seed}, {cell.budget} volumes, {cell.row}: Dice {cell.dice:.3f}", highlight=False
        )
    _leave(protocol, tuple(kept.values()), path, console)


def _leave(protocol: Protocol, cells: Sequence[Cell], path: Path, console: Console) -> None:
    """Writes CSV, Markdown and picture beside the JSON, logs all to MLflow and prints the table."""
    found = lines(cells)
    files = {".csv": as_csv(found), ".md": as_markdown(found)}
    for suffix, content in files.items():
        path.with_suffix(suffix).write_text(content, encoding="utf-8")
    draw_table(path.with_suffix(".png"), found, title=protocol.name)
    log_table(protocol, cells, files=[path.with_suffix(suffix) for suffix in (".json", ".png", *files)])
    console.print(as_markdown(found), markup=False, highlight=False)
    console.print(f"Written to {path}, with .csv, .md and .png beside it", highlight=False)


if __name__ == "__main__":
    main()
