"""Figures of what is reached: README's from benchmarks/results/seeds.json and what stands in docs/results.md, which is
made from the files of the tables.

No figure there is written by hand.

python -m benchmarks.readme
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import clone, results
from benchmarks.expected import RESULT, as_markdown
from benchmarks.seeds import NETWORKS, PAIRS, wins
from benchmarks.tables.measuring import Cell
from benchmarks.tables.page import HEAD, page
from benchmarks.tables.rows import ROWS, WHOLE
from benchmarks.tables.summary import Interval, Line, lines, said

README = clone.REPOSITORY / "README.md"
RESULTS_PAGE = clone.REPOSITORY / "docs" / "results.md"
BEGIN = "<!-- FIGURES: from benchmarks/results/seeds.json, made by `make bench-seeds`, written by `make figures` -->"
END = "<!-- END OF FIGURES -->"
_PAPER_GAIN = "+7.6 points with 23 labelled volumes (82.4 against 74.8), +29.3 with 2"
"""Bhatt, Zharov et al. 2023, Tables 1 and 2: mean IoU of the Student less that of full supervision."""
_LEAST_SEEDS = 3
_NAMES = {"teacher": "Teacher", "control": "control", "student": "Student"}

Row = Mapping[str, Any]


def main() -> None:
    """Writes the figures into README.md, and docs/results.md where a table was measured."""
    shown = with_figures(README.read_text(encoding="utf-8"), measured(), by_budget())
    README.write_text(shown, encoding="utf-8")
    RESULTS_PAGE.unlink(missing_ok=True)
    if shown := results_page(results.RESULTS):
        RESULTS_PAGE.write_text(shown, encoding="utf-8")


def results_page(folder: Path) -> str:
    """docs/results.md, of the tables and of what was expected of organs; "" where nothing of it was measured."""
    parts = [page(folder) or HEAD]
    if (expected := folder / f"{RESULT}.json").exists():
        parts.append(as_markdown(json.loads(expected.read_text(encoding="utf-8"))))
    return "\n".join(parts) if parts != [HEAD] else ""


def measured(path: Path = results.RESULTS / "seeds.json") -> Mapping[str, Any]:
    """What `make bench-seeds` left."""
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def by_budget(folder: Path = results.RESULTS) -> str:
    """Of each Table 1 the paper's whole and the strong one beside their controls; "" where nothing is measured yet.

    Nothing is said of a label budget with fewer than three seeds.
    """
    files = sorted(folder.glob("table-1-*.json"))
    parts = (_over_budgets(json.loads(path.read_text(encoding="utf-8"))) for path in files)
    return "\n".join(part for part in parts if part)


def _over_budgets(table: Mapping[str, Any]) -> str:
    whole = {"all", WHOLE}
    found = lines([Cell(**row) for row in table["rows"]])
    enough = [b for b in sorted({line.budget for line in found}) if _least_seeds(found, b, whole) >= _LEAST_SEEDS]
    if not enough:
        return ""
    data = "synthetic fish" if table["synthetic"] else table["raw_folder"]
    seeds = len({row["seed"] for row in table["rows"]})
    heads = (
        *("labelled volumes", "control", "Student, as in the paper", "points"),
        *("strong control", "strong Student", "points"),
    )
    drawn = [
        f"Mean Dice over label budgets, {data}, {seeds} seeds (`make table-1`; all rows: [results](docs/results.md)):",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for budget in enough:
        of_budget = {line.row: line for line in found if line.budget == budget}
        cells = [str(budget)]
        for student in ("all", WHOLE):
            own, control = of_budget.get(student), of_budget.get(ROWS[student].control)
            cells += ["" if line is None else f"{line.dice:.3f}" for line in (control, own)]
            cells.append("" if own is None or own.gain is None else said(own.gain))
        drawn.append(f"| {' | '.join(cells)} |")
    return "\n".join([*drawn, ""])


def _least_seeds(found: Sequence[Line], budget: int, rows: Collection[str]) -> int:
    """Of those rows that are there at all."""
    return min((line.seeds for line in found if line.budget == budget and line.row in rows), default=0)


def with_figures(page: str, content: Mapping[str, Any], tables: str = "") -> str:
    """The page with the figures between BEGIN and END. Raises ValueError where it lacks either."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md has no line {BEGIN if not begin else END}")
    return "\n".join([f"{before}{BEGIN}", "", figures(content), *([tables] if tables else []), f"{END}{after}"])


def figures(content: Mapping[str, Any]) -> str:
    """Three parts: beside the paper, seed by seed, and the differences with their intervals."""
    rows: Sequence[Row] = content["rows"]
    number = len(rows)
    here = f"{said(_difference(rows, 'student', 'teacher', 'mean_iou'))} points, mean of {number} seeds"
    beside = [
        "| | the paper, real medaka | here, synthetic fish |",
        "|---|---|---|",
        f"| Student against Teacher (the paper: full supervision), mean IoU | {_PAPER_GAIN} | {here} |",
        "| Student against the control, mean IoU | not measured "
        f"| {said(_difference(rows, 'student', 'control', 'mean_iou'))} points |",
        f"| seeds in which the Student is above the Teacher, Dice | | {wins(rows)} of {number} |",
        f"| seeds in which it is above the control, Dice | | {wins(rows, 'student', 'control')} of {number} |",
    ]
    heads = [f"{network.capitalize()} {figure}" for figure in ("Dice", "IoU") for network in NETWORKS]
    table = [f"| seed | {' | '.join(heads)} |", f"|{'---|' * (1 + len(heads))}"]
    table += [f"| {row['seed']} | {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(
        [
            *beside,
            "",
            *table,
            "",
            *_differences(rows),
            "",
            f"Commit {content['commit'][:7]}, {results.said_of(content['machine'])}.",
            "",
        ]
    )


def _cells(row: Row) -> list[str]:
    return [f"{row[network][mean]:.3f}" for mean in ("mean_dice", "mean_iou") for network in NETWORKS]


def _differences(rows: Sequence[Row]) -> list[str]:
    """Seed by seed, in points of Dice, one line each."""
    lines = ["Differences in points of Dice, paired by seed, with 95 % intervals (Student's t):", ""]
    for better, worse in PAIRS:
        lines.append(f"- {_NAMES[better]} less {_NAMES[worse]}: {said(_difference(rows, better, worse, 'mean_dice'))}")
    return lines


def _difference(rows: Sequence[Row], better: str, worse: str, mean: str) -> Interval:
    return Interval.of([row[better][mean] - row[worse][mean] for row in rows])


if __name__ == "__main__":
    main()
