"""Effort: what a benchmark is asked for on its command line. `--quick` shows that all of it runs, and keeps nothing."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import clone, results


@dataclass(frozen=True)
class Effort:
    """What is measured, and where it is written down."""

    options: argparse.Namespace
    quick: bool
    commit: str
    """What is measured; with `quick`, the one that is checked out, whatever was edited since."""
    folder: Path
    """Of result files and pictures; with `quick`, a temporary one."""

    def write(self, name: str, *, rows: list[dict[str, Any]], about: dict[str, Any]) -> Path:
        """Writes NAME.json there and returns its path."""
        return results.write(name, commit=self.commit, rows=rows, about=about, folder=self.folder)

    def picture(self, path: Path) -> Path:
        """Where a picture of the documentation goes."""
        return self.folder / path.name if self.quick else path


def effort_of(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, *, least: Mapping[str, Any]) -> Effort:
    """Parses; with `--quick`, the options of `least` are in force that the command line does not state otherwise.

    Raises BenchmarkError where figures would belong to no commit.
    """
    parser.add_argument("--quick", action="store_true", help="does all of it run? a minute or two; keeps no result")
    options = parser.parse_args(arguments)
    if not options.quick:
        return Effort(options, quick=False, commit=clone.require_commit(), folder=results.RESULTS)
    for name, value in least.items():
        if getattr(options, name) == parser.get_default(name):
            setattr(options, name, value)
    return Effort(options, quick=True, commit=clone.commit(), folder=Path(tempfile.mkdtemp(prefix="ricefish-quick-")))
