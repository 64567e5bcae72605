"""Means, spreads and intervals of groups by hand, and which fish have no part in them."""

from __future__ import annotations

import pytest

from ricefish.atlas.summary import GroupSummary, group_names, organ_names, summarise
from tests.ricefish.atlas.made_fish import HEART, fish, heart


def of(summaries: list[GroupSummary], measure: str, group: str = "all") -> GroupSummary:
    return next(one for one in summaries if one.measure.name == measure and one.group == group)


def test_mean_spread_and_interval_by_hand() -> None:
    """Of 1, 2 and 6: mean 3, SD sqrt((4 + 1 + 9) / 2) = 2.6458; t(2, 0.975) = 4.30265, so 3 +- 6.5724."""
    found = of(summarise([fish(name, heart(volume)) for name, volume in (("a", 1), ("b", 2), ("c", 6))]), "volume_mm3")
    assert (found.count, found.mean, found.sd) == (3, 3.0, pytest.approx(2.645751))
    assert (found.low, found.high) == (pytest.approx(3 - 6.572411, abs=1e-5), pytest.approx(3 + 6.572411, abs=1e-5))


def test_groups_are_told_apart_and_one_fish_has_no_spread() -> None:
    """In the order in which they first come; of a single fish there is a mean and nothing else."""
    all_fish = [
        fish("a", heart(1), group="wild"),
        fish("b", heart(4), group="mutant"),
        fish("c", heart(3), group="wild"),
    ]
    assert group_names(all_fish) == ["wild", "mutant"]
    summaries = summarise(all_fish)
    assert of(summaries, "volume_mm3", "wild").mean == 2.0
    mutant = of(summaries, "volume_mm3", "mutant")
    assert (mutant.count, mutant.mean, mutant.sd, mutant.low, mutant.high) == (1, 4.0, None, None, None)


def test_what_is_cut_off_absent_or_unknown_is_left_out_and_counted() -> None:
    """Four fish: one whole, one cut off, one without a heart, one whose labels know none. Only the first counts."""
    all_fish = [
        fish("whole", heart(2)),
        fish("cut", heart(9, touches_border=True)),
        fish("none", heart(0, voxels=0)),
        fish("other", heart(1, organ="brain")),
    ]
    found = of(summarise(all_fish), "volume_mm3")
    assert (found.count, found.mean, found.cut_off, found.absent, found.unknown) == (1, 2.0, 1, 2, 0)
    dice = of(summarise(all_fish), "expected_dice")
    assert (dice.count, dice.mean, dice.unknown) == (0, None, 1)
    asked = of(summarise(all_fish, cut_off=True), "volume_mm3")
    assert (asked.count, asked.mean, asked.cut_off) == (2, 5.5, 0)


def test_shares_of_a_fish_that_is_cut_off_are_left_out_wherever_it_is_cut() -> None:
    """The heart is whole, so its volume counts; the spine is cut, so that nobody knows what it is a share of."""
    cut = fish("a", HEART, heart(1, organ="spine", touches_border=True))
    summaries = summarise([cut])
    assert of(summaries, "volume_mm3").count == 1
    assert (of(summaries, "share").count, of(summaries, "share").cut_off) == (0, 1)


def test_places_in_a_fish_without_axes_are_unknown() -> None:
    """As round as a ball: its organs have sizes, and no places."""
    summaries = summarise([fish("ball", determined=False)])
    assert of(summaries, "head_mm").unknown == of(summaries, "length_mm").unknown == 1
    assert of(summaries, "sphericity").count == 1


def test_an_organ_that_no_fish_has_is_in_no_table() -> None:
    """It stands in organs.csv with 0 voxels, and that is all there is to say."""
    assert organ_names([fish("a", HEART, heart(0, organ="gonad", voxels=0))]) == ["heart"]
