"""The display of a batch: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from ricefish.cli.batch import BatchItem, Outcome
from ricefish.cli.batch_progress import BatchProgress
from ricefish.client.scan_status import ScanStatus

ITEMS = [BatchItem(Path(f"fish_{number}.nii"), Path(f"out/fish_{number}.nii.gz")) for number in range(3)]


def status(done: int, *, warnings: tuple[str, ...] = ()) -> ScanStatus:
    return ScanStatus("a" * 32, "running", done, 8, None, None, None, "fish", warnings)


def shown(*, terminal: bool) -> str:
    """What is said while one scan is half done, one was there, and one fails."""
    said = io.StringIO()
    console = Console(file=said, force_terminal=terminal, width=120, color_system=None)
    with BatchProgress(console, scans=3) as display:
        for item in ITEMS[:2]:
            display.began(item, "sending")
        display.began(ITEMS[0], "segmenting")
        display.segmented(ITEMS[0], status(0))
        display.segmented(ITEMS[0], status(4))
        display.ended(Outcome(ITEMS[2], "there"))
        display.ended(Outcome(ITEMS[1], "failed", "its axes [x]"))
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.getvalue())


def test_bars_show_scans_slices_rate_and_what_is_under_way() -> None:
    """In the last picture 2 of 3 scans have ended and 4 of 8 slices are done; the failure stays above the bars."""
    text = shown(terminal=True)
    assert "2 of 3 fish_1.nii: failed: its axes [x]" in text
    scans, slices = text.strip().splitlines()[-2:]
    assert re.search(r"scans .* 2/3 .*segmenting 1, failed 1", scans)
    assert re.search(r"slices .* 4/8 4\.0 slices/s", slices), "4 in the first second"


def test_elsewhere_a_line_says_what_failed_and_what_is_done() -> None:
    """What was there is not spoken of; warnings of the server are, with the file's name."""
    assert shown(terminal=False) == "2 of 3 fish_1.nii: failed: its axes [x]\n"
    said = io.StringIO()
    with BatchProgress(Console(file=said), scans=1) as display:
        display.ended(Outcome(ITEMS[0], "done", scan=status(8, warnings=("too dark",))))
    assert said.getvalue() == "1 of 1 fish_0.nii: done\nfish_0.nii: warning: too dark\n"
