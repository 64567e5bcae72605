"""Numbers, times and reasons as the page says them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.model.drift import Code
from serving.web.wording import NOTHING, STATES, WARNINGS, duration, number, percent


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (90, "1 min 30 s"), (3600, "1 h"), (4800, "1 h 20 min")),
        *((90000, "1 d 1 h"), (None, NOTHING), (float("inf"), NOTHING)),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float | None, said: str) -> None:
    """And a dash where nobody knows."""
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0056612, "0.00566"), (12.3456, "12.3"), (1234.5, "1\u202f234"), (0, "0"), (1.0, "1"), (None, NOTHING)],
)
def test_a_number_has_three_digits_that_count(value: float | None, said: str) -> None:
    """Never in powers of ten, which few people read."""
    assert number(value) == said


@given(st.floats(1e-9, 1e12))
def test_a_number_is_what_it_says(value: float) -> None:
    """To half a percent, at any size."""
    assert float(number(value).replace("\u202f", "")) == pytest.approx(value, rel=0.005)


def test_every_warning_and_state_has_its_words() -> None:
    """Those of the code that makes them."""
    assert set(WARNINGS) == set(Code.__args__)  # type: ignore[attr-defined]  # a Literal
    assert set(STATES) == {"queued", "running", "succeeded", "failed", "cancelled"}
    assert percent(0.825) == "82%" and percent(None) == NOTHING
