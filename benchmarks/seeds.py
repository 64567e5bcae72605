"""Is the Student better than the Teacher, or was it luck? The pipeline for several seeds, fish and weights alike.

    python -m benchmarks.seeds --seeds 1 2 3 4 5

Runs up to stage evaluate, one seed after the other; writes benchmarks/results/seeds.json and prints a table.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import clone, results

PHANTOMS = clone.REPOSITORY / "data" / "phantom"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where a run fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description="Teacher and Student over seeds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="seeds (default: 1 2 3 4 5)")
    parser.add_argument("--profile", default="demo", help="profile of params.yaml (default: demo)")
    parser.add_argument("--raw", type=Path, default=PHANTOMS, help="folder of raw volumes (default: the phantoms')")
    given = parser.parse_args(arguments)
    try:
        measure(given.seeds, clone.active_variant(profile=given.profile, raw_dir=given.raw))
    except clone.BenchmarkError as error:
        raise SystemExit(f"seeds: {error}") from None


def measure(seeds: Sequence[int], variant: clone.Variant) -> None:
    """Runs every seed and prints the table. Raises BenchmarkError if a run fails; rows before it are kept."""
    console = Console()
    commit = clone.require_commit()
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        console.print(f"seed {seed} ({len(rows) + 1} of {len(seeds)}) ...", highlight=False)
        seeded = dataclasses.replace(variant, changes={**variant.changes, "seed": seed})
        outcome = clone.evaluate(seeded, name=f"{variant.profile}-seed-{seed}")
        rows.append(
            {
                "seed": seed,
                "teacher": results.means(outcome.scores["teacher"]),
                "student": results.means(outcome.scores["student"]),
                "seconds": round(outcome.seconds, 1),
                "stages_restored": outcome.restored,
            }
        )
        path = results.write("seeds", commit=commit, rows=rows, about={"profile": variant.profile})
    console.print(table(rows))
    console.print(f"Student above Teacher in mean Dice: {wins(rows)} of {len(rows)} seeds. Written to {path}")


def wins(rows: Sequence[dict[str, Any]]) -> int:
    """Rows in which the Student's mean Dice is above the Teacher's."""
    return sum(row["student"]["mean_dice"] > row["teacher"]["mean_dice"] for row in rows)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line per seed."""
    drawn = Table(title="Held-out volumes, mean over volumes, then organs", title_justify="left")
    for heading in ("seed", "Teacher Dice", "Student Dice", "change", "Teacher IoU", "Student IoU", "seconds"):
        drawn.add_column(heading, justify="right")
    for row in rows:
        teacher, student = row["teacher"], row["student"]
        drawn.add_row(
            str(row["seed"]),
            f"{teacher['mean_dice']:.3f}",
            f"{student['mean_dice']:.3f}",
            f"{student['mean_dice'] - teacher['mean_dice']:+.3f}",
            f"{teacher['mean_iou']:.3f}",
            f"{student['mean_iou']:.3f}",
            f"{row['seconds']:.0f}",
        )
    return drawn


if __name__ == "__main__":
    main()
