"""README's figures are those that were measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import readme


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
    assert readme.with_figures(page, readme.measured()) == page


def test_figures_stand_beside_the_control() -> None:
    """Gains of 0.08 and 0.08 over the Teacher; of -0.02 and 0.06 over the control: 12.7 times 0.04 wide."""
    shown = readme.figures(CONTENT)
    assert "| seeds in which the Student is above the Teacher, Dice | | 2 of 2 |" in shown
    assert "| seeds in which it is above the control, Dice | | 1 of 2 |" in shown
    assert "| 1 | 0.500 | 0.600 | 0.580 | 0.250 | 0.300 | 0.290 |" in shown
    assert "- Student less Teacher: +8.0 (+8.0 to +8.0)" in shown
    assert "- Student less control: +2.0 (-48.8 to +52.8)" in shown
    assert "Commit 0123456, a processor, 2 cores." in shown


def test_a_page_without_the_marks_is_refused() -> None:
    """Figures are written nowhere but between them."""
    with pytest.raises(ValueError, match="FIGURES"):
        readme.with_figures("# A page", CONTENT)
