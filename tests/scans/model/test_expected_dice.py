"""Expected Dice: bounds by hand, how often they hold, and what is said where too little was seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scans.model.expected_dice import DiceCalibration, ExpectedDice


def column(*differences: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One organ in as many volumes: 0.5 was said of each."""
    return np.full((len(differences), 1), 0.5), 0.5 + np.array(differences)[:, np.newaxis]


def test_bounds_by_hand() -> None:
    """Of nine differences at a rate of 0.8 the outermost are the bounds, (9 + 1) x 0.1 = 1; the middle is the fifth."""
    said, true = column(-0.4, -0.3, -0.2, -0.1, 0.05, 0.1, 0.2, 0.3, 0.4)
    calibration = DiceCalibration.of(said, true, rate=0.8)
    assert (calibration.lower, calibration.middle, calibration.upper) == ((-0.4,), (0.05,), (0.4,))
    assert calibration.expected(1, 0.5) == ExpectedDice(0.55, 0.1, 0.9)
    assert calibration.expected(1, 0.9) == ExpectedDice(0.95, 0.5, 1.0), "no Dice is beyond 1"
    assert calibration.volumes == 9


def test_few_volumes_share_the_bounds_of_all_organs() -> None:
    """Two organs in five volumes: ten differences together; of one organ with nine its own."""
    said = np.full((9, 2), 0.5)
    true = said + np.linspace(-0.2, 0.2, 18).reshape(9, 2)
    true[5:, 1] = said[5:, 1] = np.nan
    calibration = DiceCalibration.of(said, true, rate=0.8)
    own, pooled = true[:, 0] - 0.5, (true - 0.5)[~np.isnan(true)]
    assert calibration.lower == pytest.approx((own.min(), pooled.min()), abs=1e-6)
    assert calibration.middle == pytest.approx((np.median(own), np.median(pooled)), abs=1e-6)


@pytest.mark.parametrize("volumes", [0, 1, 8])
def test_what_was_not_seen_is_not_claimed(volumes: int) -> None:
    """With fewer than nine differences a rate of 0.8 has no bounds: from 0 to 1."""
    expected = DiceCalibration.of(*column(*[0.0] * volumes), rate=0.8).expected(1, 0.7)
    assert (expected.low, expected.dice, expected.high) == (0.0, 0.7, 1.0)


@pytest.mark.parametrize("organs", [1, 4])
@pytest.mark.parametrize("volumes", [7, 40])
def test_the_true_dice_is_within_the_bounds_as_often_as_stated(volumes: int, organs: int) -> None:
    """Over 400 sets of volumes, a new one each, whatever the classifier's bias: nine of ten, or more."""
    rng = np.random.default_rng(1)
    within = []
    for _ in range(400):
        true = rng.beta(6, 2, (volumes + 1, organs))
        said = np.clip(true * 0.8 + 0.15 + rng.normal(0, 0.05, true.shape), 0, 1)
        calibration = DiceCalibration.of(said[:-1], true[:-1])
        for organ in range(organs):
            expected = calibration.expected(organ + 1, float(said[-1, organ]))
            within.append(expected.holds(float(true[-1, organ])))
    assert np.mean(within) > 0.9 - 2 * 0.3 / np.sqrt(400)
    if volumes * organs >= 40:
        assert np.mean(within) < 0.99, "bounds that hold always say nothing"


@given(st.integers(0, 30), st.integers(1, 5), st.floats(0, 1), st.integers(0, 99))
def test_it_survives_json_and_stays_in_order(volumes: int, organs: int, said: float, seed: int) -> None:
    """Low, expected and high in this order, within 0 and 1, before and after."""
    rng = np.random.default_rng(seed)
    both = rng.random((2, volumes, organs))
    both[:, rng.random((volumes, organs)) < 0.3] = np.nan
    calibration = DiceCalibration.of(*both)
    assert DiceCalibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    for organ in range(organs):
        expected = calibration.expected(organ + 1, said)
        assert 0 <= expected.low <= expected.dice <= expected.high <= 1


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Of other volumes or organs; and a content whose parts are of different organs."""
    with pytest.raises(ValueError, match=r"said has shape \(2, 3\) and true \(3, 2\)"):
        DiceCalibration.of(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="1 lower, 2 middle and 1 upper"):
        DiceCalibration.from_dict({"rate": 0.9, "lower": [0], "middle": [0, 0], "upper": [0], "volumes": 1})
