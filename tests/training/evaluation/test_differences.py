"""Differences between networks: those of the printed means, with an interval over volumes that is paired."""

from __future__ import annotations

import json
from typing import Any

import pytest

from training.evaluation.differences import FIGURES, differences


def report(*volumes: tuple[float | None, ...]) -> dict[str, Any]:
    """Of a network: in each volume the value of each organ, the same in every figure."""
    return {
        "volumes": {
            f"fish_{number}": {"organs": {str(i): dict.fromkeys(FIGURES, value) for i, value in enumerate(volume)}}
            for number, volume in enumerate(volumes)
        }
    }


def even(value: float, *, volumes: int = 5) -> dict[str, Any]:
    return report(*[(value,)] * volumes)


def networks(student: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"teacher": other, "control": other, "student": student}


def test_an_interval_is_that_of_volumes_drawn_anew() -> None:
    """One volume of five is 0.5 better: the mean is 0.1, and a draw has it 0 to 3 times in 95 % of all.

    How often it is drawn is binomial, 5 times 1/5: not at all in 32.8 %, at most twice in 94.2 %, at most three times
    in 99.3 %. So the ends are those of 0 and 3 times 0.5 / 5.
    """
    better = report((0.75,), (0.25,), (0.25,), (0.25,), (0.25,))
    found = differences(networks(better, even(0.25)), seed=1)["student-control"]["dice"]
    assert found.mean == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.0, 0.3))
    assert found.interval_missing is None


def test_the_interval_is_paired() -> None:
    """Volumes may differ as they like: a Student that is 0.1 better in each is so in every draw."""
    teacher = report((0.1,), (0.9,), (0.5,))
    found = differences(networks(report((0.2,), (1.0,), (0.6,)), teacher), seed=1)
    assert found["student-teacher"]["iou"].interval == pytest.approx((0.1, 0.1))
    assert found["control-teacher"]["iou"].interval == (0.0, 0.0)


def test_the_difference_is_that_of_the_means_that_are_printed() -> None:
    """Heart 0.5 over two volumes, gut 1.0 in the one that has it: 0.75; where both are 0.25 it is 0.5 less."""
    better = report((0.25, 1.0), (0.75, None), (0.5, None))
    worse = report((0.25, 0.25), (0.25, None), (0.25, None))
    assert differences(networks(better, worse), seed=1)["student-teacher"]["dice"].mean == pytest.approx(0.5)


def test_an_organ_that_was_missed_or_invented_never_helps() -> None:
    """A heart that was missed and one that is not there are 0 each, and the difference is less."""
    right, missed = report((1.0,), (1.0,), (None,)), report((0.0,), (1.0,), (None,))
    invented = report((1.0,), (1.0,), (0.0,))
    assert differences(networks(missed, right), seed=1)["student-teacher"]["dice"].mean == -0.5
    assert differences(networks(invented, right), seed=1)["student-teacher"]["dice"].mean == pytest.approx(-1 / 3)


@pytest.mark.parametrize(("volumes", "said"), [(1, "one validation volume"), (2, "2 validation volumes")])
def test_too_few_volumes_have_no_interval_and_it_is_said(volumes: int, said: str) -> None:
    """The difference stands there alone, and the reason in words."""
    found = differences(networks(even(0.75, volumes=volumes), even(0.5, volumes=volumes)), seed=1)
    content = json.loads(json.dumps(found["student-teacher"]["dice"].to_dict(), allow_nan=False))
    assert content == {"mean": 0.25, "low": None, "high": None, "interval_missing": f"{said}; an interval needs 3"}


def test_the_same_seed_draws_the_same_volumes() -> None:
    """So that a stage that is run again writes the same file."""
    better = report((0.71,), (0.32,), (0.55,), (0.48,), (0.67,), (0.9,))
    assert differences(networks(better, even(0.5, volumes=6)), seed=3) == differences(
        networks(better, even(0.5, volumes=6)), seed=3
    )


def test_networks_that_were_scored_on_other_volumes_are_not_compared() -> None:
    """Nothing is paired then."""
    with pytest.raises(ValueError, match="scored on different volumes"):
        differences(networks(even(0.5), even(0.5, volumes=4)), seed=1)
