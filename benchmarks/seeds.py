"""Is the Student better than the Teacher, or was it luck, or more training? The pipeline for several seeds.

    python -m benchmarks.seeds --seeds 1 2 3 4 5

A seed decides the fish (on a raw data set: which volumes are held out), the weights and the patches; with --data-seed N
the data are the same for all seeds. Beside Teacher and Student stands the control: the Teacher trained on for the
Student's steps, on labelled slices alone. Runs up to stage evaluate, one seed after the other. Writes
benchmarks/results/seeds.json and prints a table.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import clone, results
from benchmarks.effort import Effort, effort_of
from benchmarks.tables.summary import Interval

PHANTOMS = clone.REPOSITORY / "data" / "phantom"
NETWORKS = ("teacher", "control", "student")
PAIRS = (("student", "teacher"), ("student", "control"), ("control", "teacher"))
"""What is compared seed by seed: the first less the second."""

Row = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where a run fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description="Teacher and Student over seeds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="seeds (default: 1 2 3 4 5)")
    parser.add_argument("--data-seed", type=int, help="seed of the data of every run (default: each seed's own data)")
    parser.add_argument("--profile", default="demo", help="profile of params.yaml (default: demo)")
    parser.add_argument("--raw", type=Path, default=PHANTOMS, help="folder of raw volumes (default: the phantoms')")
    try:
        effort = effort_of(parser, arguments, least={"seeds": [1]})
        given = effort.options
        variant = clone.active_variant(profile=given.profile, raw_dir=given.raw)
        fixed = {} if given.data_seed is None else {"prepare.seed": given.data_seed}
        measure(given.seeds, dataclasses.replace(variant, smallest=effort.quick, changes=fixed), effort)
    except clone.BenchmarkError as error:
        raise SystemExit(f"seeds: {error}") from None


def measure(seeds: Sequence[int], variant: clone.Variant, effort: Effort) -> None:
    """Runs every seed and prints the table. Raises BenchmarkError if a run fails; rows before it are kept.

    Every run's data are those of its seed, unless the variant has a `prepare.seed`.
    """
    console = Console()
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        console.print(f"seed {seed} ({len(rows) + 1} of {len(seeds)}) ...", highlight=False)
        rows.append(_row(seed, variant))
        about = {"profile": variant.profile, "changes": dict(variant.changes), "differences": differences(rows)}
        path = effort.write("seeds", rows=rows, about=about)
    console.print(table(rows))
    for line in _said(rows):
        console.print(line, highlight=False)
    console.print(f"Written to {path}", highlight=False)


def _row(seed: int, variant: clone.Variant) -> dict[str, Any]:
    changes = {"prepare.seed": seed, **variant.changes, "seed": seed}
    name = f"{variant.profile}-seed-{seed}"
    outcome = clone.evaluate(dataclasses.replace(variant, changes=changes), name=name)
    return {
        "seed": seed,
        **{network: results.means(outcome.scores[network]) for network in NETWORKS},
        "seconds": round(outcome.seconds, 1),
        "stages_restored": outcome.restored,
    }


def wins(rows: Sequence[Row], better: str = "student", worse: str = "teacher") -> int:
    """Rows in which one network's mean Dice is above the other's."""
    return sum(row[better]["mean_dice"] > row[worse]["mean_dice"] for row in rows)


def differences(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Of each of PAIRS: mean difference in mean Dice over the seeds, and the ends of its 95 % interval (Student's t).

    With one seed there is no interval, and its ends are left out.
    """
    found = {}
    for better, worse in PAIRS:
        gain = Interval.of([row[better]["mean_dice"] - row[worse]["mean_dice"] for row in rows])
        ends = {"mean": gain.mean, "low": gain.low, "high": gain.high}
        found[f"{better}-{worse}"] = {name: value for name, value in ends.items() if value is not None}
    return found


def table(rows: Sequence[Row]) -> Table:
    """One line per seed."""
    drawn = Table(title="Held-out volumes, mean over volumes, then organs", title_justify="left")
    drawn.add_column("seed", justify="right")
    for figure in ("Dice", "IoU"):
        for network in NETWORKS:
            drawn.add_column(f"{network.capitalize()} {figure}", justify="right")
    drawn.add_column("seconds", justify="right")
    for row in rows:
        means = (f"{row[network][mean]:.3f}" for mean in ("mean_dice", "mean_iou") for network in NETWORKS)
        drawn.add_row(str(row["seed"]), *means, f"{row['seconds']:.0f}")
    return drawn


def _said(rows: Sequence[Row]) -> list[str]:
    lines = []
    for (better, worse), found in zip(PAIRS, differences(rows).values(), strict=True):
        interval = f" (95 % interval {found['low']:+.3f} to {found['high']:+.3f}, t)" if "low" in found else ""
        lines.append(
            f"{better.capitalize()} against {worse.capitalize()}: {found['mean']:+.3f} Dice{interval}, "
            f"above it in {wins(rows, better, worse)} of {len(rows)} seeds."
        )
    return lines


if __name__ == "__main__":
    main()
