"""fish.csv: every way to name a fish and to write the table, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ricefish.atlas.groups_file import GroupsError, read_groups
from ricefish.atlas.sources import AtlasSource
from tests.ricefish.atlas.made_fish import source

ID = "0123456789abcdef0123456789abcdef"
SOURCES = [source("a"), source("b"), AtlasSource("scan_7", scan_id=ID)]


def table(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "fish.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize(
    "text",
    [
        f"file,group\na.nii.gz,wild\n/data/b.nii.gz,mutant\n{ID},mutant\n",
        "\ufeffScan;Group;remark\na;wild;x\nb;mutant;\nscan_7;mutant;\n",
        "group\tfish\nwild\ta\nmutant\t b \n\nmutant\tscan_7\n",
    ],
)
def test_fish_are_named_as_people_name_them(tmp_path: Path, text: str) -> None:
    """By file, path, name or id; with commas, semicolons or tabs, with more columns too."""
    assert read_groups(table(tmp_path, text), SOURCES) == {"a": "wild", "b": "mutant", "scan_7": "mutant"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,group\na,wild\nc.nii,wild\nb,wild\nscan_7,wild\nd,x\n",
            "none of the scans: c.nii, d. The scans are: a, b, scan_7",
        ),
        ("file,group\na,wild\n", "scans without a group: b, scan_7"),
        ("file,group\na,wild\nb,x\na,mutant\nscan_7,x\n", "names that stand twice: a"),
        ("name,group\na,wild\n", "has the columns name, group; expected a column file"),
        ("", "has the columns none"),
        ("file,group\na,\n", "line 2: a group is missing"),
        ("file,group\na,x\n,wild\n", "line 3: a scan is missing"),
    ],
)
def test_a_table_that_cannot_be_used_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    """All that is wrong of a kind at once, with the table's name."""
    with pytest.raises(GroupsError, match=r"fish\.csv") as raised:
        read_groups(table(tmp_path, text), SOURCES)
    assert message in str(raised.value)


def test_a_table_in_another_encoding_is_told_so(tmp_path: Path) -> None:
    """Latin-1, as old spreadsheets save it."""
    with pytest.raises(GroupsError, match="not UTF-8"):
        read_groups(table(tmp_path, "file,group\na,größe\n", "latin-1"), SOURCES)


def test_a_name_that_two_fish_have_wants_its_folder(tmp_path: Path) -> None:
    """Both are organs.nii.gz, in a folder each."""
    two = [AtlasSource(f"{name}/organs", Path(f"/data/{name}/organs.nii.gz")) for name in ("a", "b")]
    with pytest.raises(GroupsError, match=r"more than one scan has .*: organs\.nii\.gz"):
        read_groups(table(tmp_path, "file,group\norgans.nii.gz,x\n"), two)
    assert read_groups(table(tmp_path, "file,group\na/organs,x\nb/organs,y\n"), two) == {
        "a/organs": "x",
        "b/organs": "y",
    }
