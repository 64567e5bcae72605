"""`dvc repro` as the demo runs it: what it says is passed on, and before each stage how long the rest will take."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from demo.parts import DemoError
from demo.timetable import STAGES, Timetable, about

_BEGINS = re.compile(r"Running stage '(\w+)'")
_LEFT_OUT = re.compile(r"Stage '(\w+)' didn't change|Stage '(\w+)' is cached")


def reproduce(console: Console, timetable: Timetable, *, folder: Path, environment: Mapping[str, str]) -> None:
    """Runs what is out of date of the pipeline. Raises DemoError if a stage fails; what it said stands above then."""
    announcer = Announcer(console, timetable)
    with subprocess.Popen(
        ["dvc", "repro"], cwd=folder, env=dict(environment), stdout=subprocess.PIPE, text=True, errors="replace"
    ) as dvc:
        for line in dvc.stdout or ():
            announcer.heard(line.rstrip("\n"))
    announcer.ended()
    if dvc.returncode:
        raise DemoError(f"`dvc repro` ended with exit code {dvc.returncode}; what it said stands above")


class Announcer:
    """Passes lines of `dvc repro` on, and says with each stage which one it is and how long the rest will take."""

    def __init__(self, console: Console, timetable: Timetable) -> None:
        self._console = console
        self._timetable = timetable
        self._stage: str | None = None
        self._began = 0.0

    def heard(self, line: str) -> None:
        """A line of DVC's, or of the stage that it runs."""
        if (left_out := _LEFT_OUT.search(line)) is not None:
            self._timetable.left_out(left_out[1] or left_out[2])
        if (begins := _BEGINS.search(line)) is not None:
            self.ended()
            self._begin(begins[1])
        else:
            self._console.out(line, highlight=False)

    def _begin(self, stage: str) -> None:
        number = list(STAGES).index(stage) + 1
        left = about(self._timetable.seconds_left)
        self._console.rule(f"stage {number} of {len(STAGES)}: {stage}, {left} left", align="left", style="dim")
        self._stage, self._began = stage, time.monotonic()

    def ended(self) -> None:
        """The stage under way is over, if there is one."""
        if self._stage is not None:
            self._timetable.done(self._stage, time.monotonic() - self._began)
            self._stage = None
