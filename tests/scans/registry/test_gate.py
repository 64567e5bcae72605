"""The gate of the champion, with numbers worked out by hand, and the comparison on volumes that both are scored on."""

from __future__ import annotations

import pytest

from scans.measures.metrics import VolumeScores
from scans.organs import OrganMap
from scans.registry.gate import GateError, GateLimits, Row, Verdict, judge, volume_scores

ORGANS = OrganMap.from_mapping({1: "heart", 2: "liver"})
LIMITS = GateLimits(least_mean_dice=0.5, greatest_mean_loss=0.0, greatest_organ_loss=0.03)


def scores(**volumes: tuple[float | None, float | None]) -> dict[str, VolumeScores]:
    """Dice of heart and liver of each volume; IoU plays no part in the gate."""
    return {
        name: VolumeScores(name, dice={"heart": heart, "liver": liver}, iou={"heart": 0.5, "liver": 0.5})
        for name, (heart, liver) in volumes.items()
    }


def verdict(candidate: dict[str, VolumeScores], champion: dict[str, VolumeScores]) -> Verdict:
    return judge(candidate, champion, organs=ORGANS, limits=LIMITS)


def test_the_mean_is_over_volumes_first_and_then_over_organs() -> None:
    """Heart (0.8 + 0.6) / 2 = 0.7, liver 0.5 (scored in one volume): the mean is 0.6, not the mean of the three."""
    rows = verdict(scores(a=(0.8, 0.5), b=(0.6, None)), scores(a=(0.8, 0.5), b=(0.6, None))).rows
    assert [row.figure for row in rows] == ["mean", "heart", "liver"]
    assert [row.candidate for row in rows] == pytest.approx([0.6, 0.7, 0.5])


def test_the_same_scores_pass() -> None:
    """A candidate need not be better than the champion."""
    assert verdict(scores(a=(0.8, 0.5)), scores(a=(0.8, 0.5))).passed


def test_a_lower_mean_fails_though_each_organ_is_within_its_limit() -> None:
    """0.02 lower in both organs: each may lose 0.03, the mean may lose nothing."""
    found = verdict(scores(a=(0.78, 0.48)), scores(a=(0.80, 0.50)))
    assert found.failures == ("mean Dice falls from 0.6500 to 0.6300; a loss of 0 is allowed",)


def test_an_organ_that_loses_more_than_three_points_fails_though_the_mean_rises() -> None:
    """Heart gains 0.10, liver loses 0.04."""
    found = verdict(scores(a=(0.90, 0.46)), scores(a=(0.80, 0.50)))
    assert found.failures == ("Dice of liver falls from 0.5000 to 0.4600; a loss of 0.03 is allowed",)


def test_exactly_three_points_are_allowed() -> None:
    """0.80 - 0.77 is a little more than 0.03 in binary fractions, and is 0.03 all the same."""
    assert Row("liver", candidate=0.77, champion=0.80, allowed_loss=0.03).holds
    assert not Row("liver", candidate=0.7699, champion=0.80, allowed_loss=0.03).holds


def test_an_organ_that_the_candidate_invents_counts() -> None:
    """Absent from truth and from the champion's answer, but not from the candidate's: 0 where the champion has none."""
    found = verdict(scores(a=(0.8, 0.0)), scores(a=(0.8, None)))
    assert not found.passed
    assert found.rows[2].change is None


def test_scores_of_other_volumes_are_not_compared() -> None:
    """A mean over other volumes says nothing about which model is better."""
    with pytest.raises(GateError, match="scored on a, b, the champion on a"):
        verdict(scores(a=(0.8, 0.5), b=(0.9, 0.9)), scores(a=(0.8, 0.5)))


def test_scores_without_volumes_are_not_compared() -> None:
    """Nothing was measured: that is no reason to promote."""
    with pytest.raises(GateError, match="no volume"):
        verdict({}, {})


def test_scores_are_read_from_what_evaluate_writes() -> None:
    """The part of metrics/evaluate.json that is one network's, None kept as None."""
    volume = {"experiment": "first", "organs": {"heart": {"dice": 0.8, "iou": 0.6, "hd95_mm": 1.0, "assd_mm": 0.1}}}
    found = volume_scores({"mean_dice": 0.8, "volumes": {"fish_1": volume}})
    assert found == {"fish_1": VolumeScores("fish_1", dice={"heart": 0.8}, iou={"heart": 0.6})}


def test_limits_are_noted_with_a_version_and_read_back() -> None:
    """As tags, or as a run's parameters; of a version that has not all of them nobody knows the limits."""
    assert LIMITS.tags == {
        "register.least_mean_dice": "0.5",
        "register.greatest_mean_loss": "0.0",
        "register.greatest_organ_loss": "0.03",
    }
    assert GateLimits.noted({**LIMITS.tags, "git_commit": "0123"}) == LIMITS
    run = {"seed": "1", "least_mean_dice": "0.5", "greatest_mean_loss": "0", "greatest_organ_loss": "0.03"}
    assert GateLimits.noted(run, prefix="") == LIMITS
    assert GateLimits.noted({"register.least_mean_dice": "0.5"}) is None
    for said in ("-0.1", "nan", "much"):
        with pytest.raises(GateError, match=f"register.least_mean_dice is noted as '{said}'"):
            GateLimits.noted({**LIMITS.tags, "register.least_mean_dice": said})
