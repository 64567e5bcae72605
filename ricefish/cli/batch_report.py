"""What became of a batch, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from ricefish.cli.batch import Ending, Outcome
from ricefish.cli.batch_progress import WORDS


def summary_table(outcomes: Sequence[Outcome], refused: Mapping[Path, str]) -> Table:
    """How many scans came to which end, with the slices that were segmented for them."""
    table = Table("scans")
    table.add_column("", justify="right")
    table.add_column("slices", justify="right")
    for ending, word in WORDS.items():
        ended = [outcome for outcome in outcomes if outcome.ending == ending]
        count = len(ended) + (len(refused) if ending == "failed" else 0)
        slices = sum(outcome.scan.slices_total for outcome in ended if outcome.scan is not None)
        table.add_row(word, f"{count:,}", f"{slices:,}" if ending == "done" else "")
    flagged = sum(bool(outcome.scan and outcome.scan.warnings) for outcome in outcomes)
    if flagged:
        table.add_row("with warnings", f"{flagged:,}", "")
    return table


def failures_table(outcomes: Sequence[Outcome], refused: Mapping[Path, str]) -> Table | None:
    """Every scan that failed, with the reason; None where none did."""
    rows = [(str(path), why) for path, why in refused.items()]
    rows += [(str(outcome.item.path), outcome.error or "") for outcome in outcomes if outcome.ending == "failed"]
    if not rows:
        return None
    table = Table("failed", "why")
    for row in rows:
        table.add_row(*row)
    return table


def as_json(outcomes: Sequence[Outcome], refused: Mapping[Path, str]) -> str:
    """The same for machines, and for each scan what it is on the server, its warnings and its organs."""
    scans: list[dict[str, object]] = [_row(outcome) for outcome in outcomes]
    scans += [{**_NOTHING, "input": str(path), "error": why} for path, why in refused.items()]
    counts = {ending: sum(scan["outcome"] == said for scan in scans) for ending, said in _SAID.items()}
    return json.dumps({**{_SAID[ending]: count for ending, count in counts.items()}, "scans": scans}, indent=2)


_SAID: dict[Ending, str] = {"done": "done", "there": "already_there", "failed": "failed"}
_NOTHING: dict[str, object] = {
    "input": None,
    "output": None,
    "outcome": "failed",
    "error": None,
    "scan": None,
    "model": None,
    "slices": None,
    "warnings": [],
    "organs": None,
}


def _row(outcome: Outcome) -> dict[str, object]:
    row = {
        **_NOTHING,
        "input": str(outcome.item.path),
        "output": None if outcome.ending == "failed" else str(outcome.item.out),
        "outcome": _SAID[outcome.ending],
        "error": outcome.error,
    }
    scan = outcome.scan
    if scan is not None:
        row |= {"scan": scan.id, "model": scan.model, "slices": scan.slices_total, "warnings": list(scan.warnings)}
    if outcome.ending == "done":
        row["organs"] = [asdict(organ) for organ in outcome.organs]
    return row
