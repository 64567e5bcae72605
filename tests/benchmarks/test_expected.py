"""Figures of what was expected of organs, by hand."""

from __future__ import annotations

import pytest

from benchmarks.expected import Found, figures, table
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
