"""Figures of what was expected of organs, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.expected import Found, figures, table
from benchmarks.readme import results_page
from scans.model.expected_dice import ExpectedDice


def test_figures_by_hand() -> None:
    """Of four organs three are within their bounds, which are 0.4, 0.2, 0.2 and 0.2 wide; 0.1 off in the mean, where
    0.75 for all would be 0.175."""
    found = [
        Found(1, ExpectedDice(0.8, 0.5, 0.9), 0.75, 0.9),
        Found(1, ExpectedDice(0.6, 0.5, 0.7), 0.75, 0.6),
        Found(2, ExpectedDice(0.9, 0.8, 1.0), 0.75, 0.9),
        Found(2, ExpectedDice(0.8, 0.7, 0.9), 0.75, 0.5),
    ]
    assert figures(found) == {
        "organs": 4,
        "coverage": 0.75,
        "coverage_by_beam_time": {"1": 1.0, "2": 0.5},
        "width": pytest.approx(0.25),
        "error": pytest.approx(0.1),
        "error_of_the_mean": pytest.approx((0.15 + 0.15 + 0.15 + 0.25) / 4),
        "correlation": pytest.approx(0.5461, abs=1e-3),
    }
    assert table([{"seed": 1, **figures(found)}]).row_count == 1


def test_they_stand_on_the_page_of_results(tmp_path: Path) -> None:
    """Below its head, with the rate that was asked for; without figures there is no page."""
    assert results_page(tmp_path) == ""
    by_beam_time = {"1": 1.0, "2": 0.5}
    row = {"seed": 1, "organs": 4, "coverage": 0.75, "coverage_by_beam_time": by_beam_time, "width": 0.25}
    content = {
        **{"commit": "0123456789", "machine": {"processor": "a processor", "cores": 2}},
        **{"fish": 60, "rate": 0.9, "validation": 30},
        "rows": [{**row, "error": 0.1, "error_of_the_mean": 0.175}],
    }
    (tmp_path / "expected.json").write_text(json.dumps(content))
    page = results_page(tmp_path)
    assert page.startswith("# Results\n")
    assert "60 new synthetic fish" in page and "to hold in 90%" in page.replace("\n", " ")
    assert "| 1 | 4 | 75.0% | 100.0%, 50.0% | 0.250 | 0.100 | 0.175 |" in page
