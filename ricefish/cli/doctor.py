"""`ricefish doctor`: the findings of `serving.process.diagnosis` as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from serving.process.diagnosis import Finding

_STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


def watched(look: Callable[[Callable[[str], None]], Iterable[Finding]]) -> list[Finding]:
    """All findings of a long look, which is handed what to tell its progress to; that is shown on stderr."""
    with Console(stderr=True).status("reading") as status:
        return list(look(lambda what: status.update(f"reading {what}")))


def table(findings: Sequence[Finding]) -> Table:
    """One row for each finding, its advice below what was found."""
    drawn = Table("", "what", "found", box=None, pad_edge=False)
    for column in drawn.columns:
        column.overflow = "fold"  # a long path goes on in the next line, and loses nothing
    for finding in findings:
        level = finding.level.value
        found = Text(finding.found)
        if finding.advice:
            found.append(f"\n-> {finding.advice}", style=_STYLES[level])
        drawn.add_row(Text(level, style=_STYLES[level]), Text(finding.name), found)
    return drawn


def as_json(findings: Sequence[Finding]) -> str:
    """The same for machines."""
    rows: list[dict[str, Any]] = [
        {
            "name": finding.name,
            "level": finding.level.value,
            "found": finding.found,
            "advice": finding.advice,
            "seconds": round(finding.seconds, 4),
        }
        for finding in findings
    ]
    return json.dumps({"ok": not failed(findings), "findings": rows}, indent=2)


def failed(findings: Sequence[Finding]) -> bool:
    """True if a server could not do its work."""
    return any(finding.level.value == "FAIL" for finding in findings)
