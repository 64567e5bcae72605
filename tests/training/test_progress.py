"""How far a long piece of work is: a bar on a terminal, a line now and then in a job's log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from training.progress import track


def test_without_a_terminal_lines_say_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Which item of how many, the rate and the time that is left; none at the end, where the stage speaks."""
    assert list(track("abcd", description="prepare", total=4, unit="volume", line_seconds=0.0)) == list("abcd")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"prepare: volume {done} of 4" for done in (1, 2, 3)]
    assert all("volume/s" in line and line.endswith("0:00:00 left") for line in lines)


def test_what_takes_a_moment_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A log is not filled by short stages."""
    assert len(list(track(range(1000), description="prepare", total=1000, unit="slice"))) == 1000
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar() -> None:
    """With the description and the count."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    list(track("ab", description="prepare", total=2, unit="volume", console=console))
    assert isinstance(console.file, io.StringIO)
    assert "prepare" in console.file.getvalue() and "2/2" in console.file.getvalue()
