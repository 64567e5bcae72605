"""What each part of the recipe gives: the rows of Table 2 of the paper, a control, and the label budgets of Table 1.

    python -m benchmarks.recipe                              # all rows, active profile
    python -m benchmarks.recipe --rows all supervised        # two of them
    python -m benchmarks.recipe --profile headneck_ct --raw /data/headneck_ct

Every row has as many optimiser steps behind it as any other, but for the Teacher, with which all but those with new
weights begin. Writes benchmarks/results/recipe-PROFILE.json and prints a table, in which Teacher and control of its run
stand beside each row. Stages that rows have in common run once.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import clone, results
from benchmarks.effort import Effort, effort_of

BUDGETS = (2, 7, 12, 23)
"""Labelled volumes, Table 1."""


def _switches(*, pseudo: bool, distillation: bool, checkpoint: bool, classifier: bool) -> dict[str, bool]:
    return {
        "train_student.pseudo_labels": pseudo,
        "train_student.distillation": distillation,
        "train_student.teacher_checkpoint": checkpoint,
        "refine.quality_classifier": classifier,
    }


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    label: str
    changes: Mapping[str, Any]
    network: str = "student"
    """Whose scores these are."""


_ALL = _switches(pseudo=True, distillation=True, checkpoint=True, classifier=True)
ROWS: dict[str, Row] = {
    "teacher": Row("the Teacher, before any further step", _ALL, network="teacher"),
    "supervised": Row(
        "fully supervised",
        _switches(pseudo=False, distillation=False, checkpoint=False, classifier=True),
    ),
    "pseudo": Row(
        "pseudo-labelling",
        _switches(pseudo=True, distillation=False, checkpoint=False, classifier=False),
    ),
    "distillation": Row(
        "pseudo-labelling + distillation",
        _switches(pseudo=True, distillation=True, checkpoint=False, classifier=False),
    ),
    "checkpoint": Row(
        "pseudo-labelling + Teacher checkpoint",
        _switches(pseudo=True, distillation=False, checkpoint=True, classifier=False),
    ),
    "classifier": Row(
        "pseudo-labelling + Quality Classifier",
        _switches(pseudo=True, distillation=False, checkpoint=False, classifier=True),
    ),
    "all": Row("all", _ALL),
    "control": Row("control: the Teacher, the Student's steps more", _ALL, network="control"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where a run fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipe", description="Tables 2 and 1 of the paper")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, "budgets"], default=[*ROWS, "budgets"])
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="labelled volumes (Table 1)")
    parser.add_argument("--profile", help="profile of params.yaml (default: the active one)")
    parser.add_argument("--raw", type=Path, help="folder of raw volumes (default: that of params.yaml)")
    parser.add_argument("--seed", type=int, help="seed of weights and patches (default: the profile's)")
    parser.add_argument("--data-seed", type=int, help="seed of the data (default: the profile's)")
    try:
        effort = effort_of(parser, arguments, least={"rows": ["all", "control"]})
        _measure(effort)
    except clone.BenchmarkError as error:
        raise SystemExit(f"recipe: {error}") from None


def _measure(effort: Effort) -> None:
    given = effort.options
    variant = clone.active_variant(profile=given.profile, raw_dir=given.raw)
    seeds = {"seed": given.seed, "prepare.seed": given.data_seed}
    changes = {address: seed for address, seed in seeds.items() if seed is not None}
    variant = dataclasses.replace(variant, smallest=effort.quick, changes=changes)
    names = [name for name in given.rows if name != "budgets"]
    Recipe(effort, variant).measure(names, given.budgets if "budgets" in given.rows else [])


class Recipe:
    """Rows measured one after the other, and written down after each."""

    def __init__(self, effort: Effort, variant: clone.Variant) -> None:
        self._effort = effort
        self._variant = variant
        self._rows: list[dict[str, Any]] = []
        self._console = Console()

    def measure(self, names: Sequence[str], budgets: Sequence[int]) -> None:
        """Runs the rows of Table 2 by name, then the label budgets that the data set has volumes for."""
        volumes = 0
        for name in names:
            volumes = self._run(name, ROWS[name], volumes=None).training_volumes
        for budget in budgets:
            if volumes and budget >= volumes:
                self._console.print(f"budget {budget}: left out, there are {volumes} labelled training volumes in all")
                continue
            row = Row(f"all, {budget} labelled volumes", {**ROWS["all"].changes, "prepare.labelled_volumes": budget})
            volumes = self._run(f"budget-{budget}", row, volumes=budget).training_volumes
        self._console.print(table(self._rows))

    def _run(self, name: str, row: Row, *, volumes: int | None) -> clone.Outcome:
        self._console.print(f"{row.label} ...", highlight=False)
        profile = self._variant.profile
        changed = dataclasses.replace(self._variant, changes={**self._variant.changes, **row.changes})
        outcome = clone.evaluate(changed, name=f"{profile}-{name}")
        self._rows.append(
            {
                "row": name,
                "label": row.label,
                "labelled_volumes": volumes or outcome.training_volumes,
                **results.means(outcome.scores[row.network]),
                "teacher": results.means(outcome.scores["teacher"]),
                "control": results.means(outcome.scores["control"]),
                "organs": outcome.scores[row.network]["organs"],
                "seconds": round(outcome.seconds, 1),
                "stages_restored": outcome.restored,
            }
        )
        about = {"profile": profile, "changes": dict(self._variant.changes)}
        path = self._effort.write(f"recipe-{profile}", rows=self._rows, about=about)
        self._console.print(f"  written to {path}", highlight=False)
        return outcome


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line per row; the changes are against Teacher and control of the same run."""
    drawn = Table(title="Validation volumes, mean over volumes, then organs", title_justify="left")
    drawn.add_column("row")
    for heading in ("labelled volumes", "Dice", "IoU", "Dice - Teacher's", "Dice - control's"):
        drawn.add_column(heading, justify="right")
    for row in rows:
        drawn.add_row(
            row["label"],
            str(row["labelled_volumes"]),
            f"{row['mean_dice']:.3f}",
            f"{row['mean_iou']:.3f}",
            *(f"{row['mean_dice'] - row[other]['mean_dice']:+.3f}" for other in ("teacher", "control")),
        )
    return drawn


if __name__ == "__main__":
    main()
