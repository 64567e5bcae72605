"""Fish out of line: modified z-scores by hand, small differences, small groups, and what chance would do."""

from __future__ import annotations

import numpy as np
import pytest

from ricefish.atlas.findings import findings, of_all
from ricefish.atlas.outliers import LIMIT, chance_limit, find_outliers, modified_z
from ricefish.atlas.records import FishRecord
from tests.ricefish.atlas.made_fish import HEART, fish, heart


def hearts(*volumes: float, group: str = "all") -> list[FishRecord]:
    return [fish(f"{group}_{number}", heart(volume), group=group) for number, volume in enumerate(volumes)]


def test_the_score_by_hand() -> None:
    """1, 2, 3, 4, 10: median 3, deviations 2, 1, 0, 1, 7, MAD 1; 0.6745 x 7, less a factor (5 - 0.8) / 5 = 0.84."""
    medians, scores = modified_z([1, 2, 3, 4, 10], ["all"] * 5)
    assert medians == [3.0] * 5
    assert scores == pytest.approx([0.6745 * deviation * 0.84 for deviation in (-2, -1, 0, 1, 7)])


def test_each_group_has_its_median_and_all_share_their_spread() -> None:
    """Groups about 3 and 30: deviations 2, 1, 0, 1, 2 in both, MAD 1; two medians of ten fish: (10 - 1.6) / 10."""
    values, groups = [1, 2, 3, 4, 5, 28, 29, 30, 31, 37], ["a"] * 5 + ["b"] * 5
    medians, scores = modified_z(values, groups)
    assert medians == [3.0] * 5 + [30.0] * 5
    assert scores[-1] == pytest.approx(0.6745 * 7 * 0.84)
    small, _ = modified_z(values, ["a"] * 5 + ["b"] * 4 + ["c"])
    assert small == [3.0] * 5 + [16.5] * 5  # b and c are too small: the median of all ten


def test_where_most_are_the_same_the_mean_deviation_counts() -> None:
    """1 four times, and 6: the MAD is 0, the mean deviation 1; 5 / 1.2533 x 0.84. Of five that are the same, 0."""
    assert modified_z([1, 1, 1, 1, 6], ["all"] * 5)[1][-1] == pytest.approx(5 / 1.2533141 * 0.84)
    assert modified_z([2.0] * 5, ["all"] * 5)[1] == [0.0] * 5


def test_one_fish_out_of_line_is_told_in_words() -> None:
    """Its heart is of 20 mm3, all others' of about 2."""
    judged = find_outliers(hearts(2.0, 2.1, 1.9, 2.2, 1.8, 20.0))
    volumes = [one for one in judged.found if one.measure.name == "volume_mm3"]
    assert [one.fish for one in volumes] == ["all_5"]
    assert volumes[0].said.startswith("heart: volume 20 mm³, above the median of all fish, 2.05 mm³ (modified z +")


def test_differences_that_mean_nothing_are_none() -> None:
    """2.0000 and five hearts nearer to each other than a thousandth: one is far out by z, and 1 % larger."""
    assert find_outliers(hearts(2.0, 2.0001, 1.9999, 2.0002, 1.9998, 2.02)).found == ()


def test_four_fish_are_too_few() -> None:
    """Nobody can say which of them is out of line, so nothing is looked at."""
    judged = find_outliers(hearts(2.0, 2.1, 1.9, 20.0))
    assert (judged.found, judged.values, judged.chance_limit) == ((), 0, LIMIT)


def test_cut_off_hearts_are_looked_at_only_where_that_is_asked_for() -> None:
    """A heart that is cut off is small for that reason."""
    cut = [*hearts(2.0, 2.1, 1.9, 2.2, 1.8), fish("cut", heart(0.1, touches_border=True))]
    assert not [one for one in find_outliers(cut).found if one.fish == "cut"]
    assert [one for one in find_outliers(cut, cut_off=True).found if one.fish == "cut"]


def test_about_one_of_so_many_values_is_beyond_the_limit_of_chance() -> None:
    """Fifty atlases of ten fish and a hundred normal measures: from 0.5 to 2 values of each, on average."""
    limit = chance_limit([10], 1000)
    rng = np.random.default_rng(5)
    beyond = 0
    for _ in range(50 * 100):
        beyond += sum(abs(z) > limit for z in modified_z(rng.normal(size=10).tolist(), ["all"] * 10)[1])
    assert 0.5 < beyond / 50 < 2
    assert chance_limit([1000], 2) == LIMIT


def test_what_is_clear_comes_first_and_organs_are_told_once() -> None:
    """A heart that is out of line in two measures is one sentence; a brain that others have is told of who has none."""
    brain = heart(3, organ="brain")
    usual = [fish(f"f{number}", heart(2 + 0.1 * number), brain) for number in range(8)]
    odd = fish("odd", heart(40.0, surface_mm2=90.0), heart(0, organ="brain", voxels=0))
    found = findings([*usual, odd], find_outliers([*usual, odd]))
    assert found[0].fish.name == "odd"
    missing, large = found[0].clear
    assert missing == "brain: not found; 8 of the 8 other fish have it"
    assert large.startswith("heart: ") and "; also its " in large


def test_where_most_fish_are_mirror_images_it_is_said_once() -> None:
    """Of stacks whose slices run the other way: two of three, and no word of each."""
    all_fish = [fish("a", HEART, mirrored=True), fish("b", HEART, mirrored=True), fish("c")]
    assert findings(all_fish, find_outliers(all_fish)) == []
    assert [sentence.partition(" left")[0] for sentence in of_all(all_fish)] == ["in 2 of 3 fish"]
    assert of_all([fish("a"), fish("b", HEART, mirrored=True)]) == []


def test_labels_that_are_unlike_a_fish_are_told() -> None:
    """Mirror images, and fish without a length, whether there are many or few."""
    (found,) = findings([fish("a", HEART, mirrored=True, determined=False)], find_outliers([fish("a")]))
    assert [remark.partition(" ")[0] for remark in found.clear] == ["its", "it"]
    assert "mirrored" in found.clear[0] and "no longer than wide" in found.clear[1]
