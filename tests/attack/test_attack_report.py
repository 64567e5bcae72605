"""What a run is written down as: the JSON of counts, and the table of it in a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from attack import report
from attack.__main__ import attacks
from attack.tally import MOST_LISTED, Tally


def test_counts_become_a_table_between_the_markers() -> None:
    """What was there before is replaced; the rest of the page stays."""
    tally = Tally("formats")
    tally.count("cases", 120_000)
    tally.measure("stall_seconds", 0.25)
    tally.measure("stall_seconds", 0.125)
    tally.find("a reader died", "python -m attack.formats --file x")
    page = f"# Page\n\n{report.BEGIN}\nold\n{report.END}\n\nend\n"
    written = report.replaced(page, {"attacks": [tally.as_json()]})
    assert "| formats | 120,000 cases | 0.25 s | - | 1 |" in written
    assert "old" not in written and written.startswith("# Page\n") and written.endswith("\n\nend\n")
    assert report.replaced(written, {"attacks": [tally.as_json()]}) == written
    with pytest.raises(ValueError, match="has no"):
        report.replaced("# Page\n", {"attacks": []})


def test_the_page_has_the_markers() -> None:
    """docs/reliability.md is where the table goes."""
    assert report.replaced(report.PAGE.read_text(encoding="utf-8"), {"attacks": []})


@pytest.mark.process  # a library asks ldconfig when it is imported
def test_each_attack_has_a_row(tmp_path: Path) -> None:
    """What the command runs is what the table knows, in both lengths."""
    assert set(attacks(long=True, other_model=tmp_path)) == set(attacks(long=False, other_model=tmp_path))
    for name in attacks(long=False, other_model=tmp_path):
        assert report.table({"attacks": [Tally(name).as_json()]}).count(f"| {name} |") == 1


def test_findings_beyond_the_list_are_counted() -> None:
    """A reader that fails each time does not fill the disk."""
    tally = Tally("formats")
    for number in range(MOST_LISTED + 5):
        tally.find(f"case {number}", "so")
    assert (tally.found, len(tally.findings)) == (MOST_LISTED + 5, MOST_LISTED)
