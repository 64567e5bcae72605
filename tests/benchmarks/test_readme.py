"""README's figures are those that were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme, results
from benchmarks.tables.page import page


def _row(seed: int, teacher: float, control: float, student: float) -> dict[str, Any]:
    dice = {"teacher": teacher, "control": control, "student": student}
    return {"seed": seed, **{name: {"mean_dice": value, "mean_iou": value / 2} for name, value in dice.items()}}


CONTENT = {
    "commit": "0123456789",
    "machine": {"processor": "a processor", "cores": 2},
    "rows": [_row(1, 0.5, 0.6, 0.58), _row(2, 0.6, 0.62, 0.68)],
}


def test_readme_says_what_was_measured() -> None:
    """`make figures` was run after the last measurement, and nobody wrote into its part since."""
    page = readme.README.read_text(encoding="utf-8")
    assert readme.with_figures(page, readme.measured(), readme.by_budget()) == page


def test_figures_stand_beside_the_control() -> None:
    """Gains of 0.08 and 0.08 over the Teacher; of -0.02 and 0.06 over the control: 12.7 times 0.04 wide."""
    shown = readme.figures(CONTENT)
    assert "| seeds in which the Student is above the Teacher, Dice | | 2 of 2 |" in shown
    assert "| seeds in which it is above the control, Dice | | 1 of 2 |" in shown
    assert "| 1 | 0.500 | 0.600 | 0.580 | 0.250 | 0.300 | 0.290 |" in shown
    assert "- Student less Teacher: +8.0 (+8.0 to +8.0)" in shown
    assert "- Student less control: +2.0 (-48.8 to +52.8)" in shown
    assert "Commit 0123456, a processor, 2 cores." in shown


def test_label_budgets_stand_below_with_both_controls(tmp_path: Path) -> None:
    """Three seeds: +0.01, +0.03 and +0.02 over the control, 4.3 times 0.01 / sqrt(3) wide; of what was not measured
    nothing is said, nor of two seeds."""
    assert readme.by_budget(tmp_path) == ""
    figures = {"budget": 2, "iou": 0.5, "hd95_mm": None, "organs": {}, "seconds": 1.0, "row_sha256": ""}
    figures |= {"machine": "a machine", "commit": "0123456789"}
    controls, students = {1: 0.7, 2: 0.8, 3: 0.75}, {1: 0.71, 2: 0.83, 3: 0.77}
    dice = {(row, s): d for row, of_row in (("control", controls), ("all", students)) for s, d in of_row.items()}
    rows = [{**figures, "row": row, "seed": seed, "dice": value} for (row, seed), value in dice.items()]
    rows += [{**row, "budget": 7} for row in rows if row["seed"] < 3]
    content = {"table": 1, "profile": "demo", "synthetic": True, "raw_folder": "phantom", "rows": rows}
    (tmp_path / "table-1-demo.json").write_text(json.dumps(content))
    shown = readme.by_budget(tmp_path)
    assert "Mean Dice over label budgets, synthetic fish, 3 seeds" in shown
    assert "| 2 | 0.750 | 0.770 | +2.0 (-0.5 to +4.5) |  |  |  |" in shown
    assert "| 7 |" not in shown
    page = f"# A page\n{readme.BEGIN}\nold\n{readme.END}\nend\n"
    assert shown in readme.with_figures(page, CONTENT, shown)
    assert readme.with_figures(page, CONTENT).endswith(f"\n{readme.END}\nend\n")


def test_a_page_without_the_marks_is_refused() -> None:
    """Figures are written nowhere but between them."""
    with pytest.raises(ValueError, match="FIGURES"):
        readme.with_figures("# A page", CONTENT)


def test_the_page_of_results_is_that_of_the_tables() -> None:
    """`make figures` was run after the last table, and nobody wrote into the page; without a table there is none."""
    shown = readme.RESULTS_PAGE.read_text(encoding="utf-8") if readme.RESULTS_PAGE.exists() else ""
    assert shown == readme.results_page(results.RESULTS)


def test_a_table_stands_on_the_page_with_command_commits_and_machines(tmp_path: Path) -> None:
    """And with the differences from its control: 0.60 less 0.58 on each of two machines."""
    assert page(tmp_path) == ""
    figures = {"budget": 4, "iou": 0.5, "hd95_mm": None, "organs": {}, "seconds": 1.0, "row_sha256": ""}
    rows = [
        {**figures, "seed": seed, "machine": machine, "commit": commit, "row": row, "dice": dice}
        for seed, machine, commit in ((1, "a processor, 2 cores", "0123456789"), (2, "another, 4 cores", "abcdef0123"))
        for row, dice in (("control", 0.58), ("all", 0.6))
    ]
    content = {"table": 1, "profile": "demo", "commit": "abcdef0123", "rows": rows}
    where = {"synthetic": False, "raw_folder": "fish", "changes": {"prepare.seed": 7}}
    (tmp_path / "table-1-demo.json").write_text(json.dumps({**content, **where}), encoding="utf-8")
    shown = page(tmp_path)
    options = "--profile demo --raw FOLDER/fish --data-seed 7 --rows control all --budgets 4 --seeds 1 2"
    assert f'`make table-1 ARGS="{options}"`' in shown
    assert "Commit 0123456, abcdef0. a processor, 2 cores; another, 4 cores." in shown
    assert "| 4 | all: the paper's whole | 0.600 ± 0.000 | 0.500 |  | +2.0 (+2.0 to +2.0) | 2 of 2 |" in shown
    assert "(../benchmarks/results/table-1-demo.png)" in shown
