"""Report: the counts of a run as the table in docs/reliability.md, between its two markers.

python -m attack.report attack/results/long.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- counts -->", "<!-- /counts -->"
_MADE = {
    "formats": ("cases",),
    "integrity": ("places",),
    "kills": ("kills on SQLite", "kills on PostgreSQL"),
    "calls": ("calls",),
    "bombs": ("bombs",),
    "tensors": ("requests",),
    "connections": ("connections",),
    "faults": ("faults", "requests"),
    "mix": ("scans", "slices", "uploads", "cancellations", "swaps"),
}
"""What each attack makes: the counts of its first column."""


def table(content: Mapping[str, Any]) -> str:
    """The table in Markdown, a row for each attack of a JSON of counts."""
    rows = [
        "| attack | made | longest stall of `/health/live` | most memory above idle | findings |",
        "|---|---|---|---|---|",
    ]
    for one in content["attacks"]:
        made = ", ".join(f"{one['counts'].get(name, 0):,} {name}" for name in _MADE[one["name"]])
        stall, above = one["worst"].get("stall_seconds"), one["worst"].get("above_idle_bytes")
        seen = "-" if stall is None else f"{stall:.2f} s", "-" if above is None else f"{above / 1e6:.0f} MB"
        rows.append(f"| {one['name']} | {made} | {seen[0]} | {seen[1]} | {one['found']} |")
    return "\n".join(rows)


def replaced(page: str, content: Mapping[str, Any]) -> str:
    """The page with the table of these counts. Raises ValueError where it has no markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{begin}\n{table(content)}\n{end}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m attack.report", description="Writes counts into the documentation")
    parser.add_argument("counts", type=Path, help="a JSON that `python -m attack` wrote")
    content = json.loads(parser.parse_args(arguments).counts.read_text(encoding="utf-8"))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), content), encoding="utf-8")


if __name__ == "__main__":
    main()
