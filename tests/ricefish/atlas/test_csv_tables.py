"""organs.csv, groups.csv and the page of their columns."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

from ricefish.atlas.csv_tables import columns_page, groups_csv, organs_csv
from ricefish.atlas.outliers import find_outliers
from ricefish.atlas.summary import summarise
from tests.ricefish.atlas.made_fish import HEART, fish, heart


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_of_an_organ_and_of_one_that_was_not_found() -> None:
    """Six digits; of what was not found there are 0 voxels, and all that could mislead is empty."""
    whole = replace(HEART, volume_mm3=1 / 3, expected_dice=0.9, dice_low=0.8, dice_high=1.0)
    first, second = read(organs_csv([fish("a", whole, heart(0, organ="gonad", voxels=0))], ()))
    assert (first["fish"], first["scan"], first["group"], first["organ"]) == ("a", "/data/a.nii.gz", "all", "heart")
    assert (first["volume_mm3"], first["expected_dice"], first["dice_low"]) == ("0.333333", "0.9", "0.8")
    assert (first["touches_border"], first["asymmetry_of"], first["share_of"]) == ("no", "halves", "labelled organs")
    assert (second["organ"], second["voxels"], second["volume_mm3"], second["surface_step"]) == ("gonad", "0", "", "")


def test_what_is_out_of_line_stands_in_its_row() -> None:
    """The names of the columns in which it is, and nowhere else."""
    all_fish = [fish(f"f{n}", heart(v)) for n, v in enumerate((2.0, 2.1, 1.9, 2.2, 1.8, 20.0))]
    rows = read(organs_csv(all_fish, find_outliers(all_fish).found))
    assert [row["out_of_line"] for row in rows] == [""] * 5 + ["volume_mm3"]


def test_groups_have_a_row_for_each_measure() -> None:
    """Mean of 1 and 3, spread 1.41421; of a measure that nobody knows, no mean and two that are unknown."""
    rows = {row["measure"]: row for row in read(groups_csv(summarise([fish("a", heart(1)), fish("b", heart(3))])))}
    volume, dice = rows["volume_mm3"], rows["expected_dice"]
    assert (volume["unit"], volume["n"], volume["mean"], volume["sd"]) == ("mm³", "2", "2.0", "1.41421")
    assert (dice["n"], dice["mean"], dice["unknown"]) == ("0", "", "2")


def test_the_page_explains_every_column() -> None:
    """And says so where cut organs were counted."""
    page = columns_page(cut_off=False)
    explained = set(re.findall(r"^\| (\w+) \|", page, re.MULTILINE))
    all_fish = [fish("a")]
    for text in (organs_csv(all_fish, ()), groups_csv(summarise(all_fish))):
        assert set(text.splitlines()[0].split(",")) <= explained
    assert "--with-cut-off" in columns_page(cut_off=True) and "--with-cut-off" not in page


def test_a_name_that_a_spreadsheet_takes_for_a_formula_is_a_text() -> None:
    """Names are from anybody; numbers below 0 stay numbers."""
    (row,) = read(organs_csv([fish("=1+1", heart(1, back_mm=-2.0), group="@x")], ()))
    assert (row["fish"], row["group"], row["back_mm"]) == ("'=1+1", "'@x", "-2.0")
