"""The parts of the demo: each is announced with how long the rest will take, timed, and named when it fails."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.timetable import Timetable, about, clock

_SETTINGS = {
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


class DemoError(RuntimeError):
    """A part that failed; the message says what happened and where it is written down."""


class Parts:
    """Times of the parts that ran, in seconds."""

    def __init__(self, console: Console, timetable: Timetable) -> None:
        self._console = console
        self._timetable = timetable
        self._seconds: dict[str, float] = {}
        self.current = "start"

    @contextmanager
    def part(self, name: str, *, step: str | None = None) -> Iterator[None]:
        """Announces a part and keeps how long it took; `step` is what the timetable calls it, if it is one step."""
        self.current = name
        self._console.rule(f"[bold]{name}[/], {about(self._timetable.seconds_left)} left", align="left")
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = time.monotonic() - started
        if step is not None:
            self._timetable.done(step, self._seconds[name])

    def table(self) -> Table:
        """Elapsed time per part."""
        table = Table("part", "time", title="How long it took", title_justify="left")
        for name, seconds in self._seconds.items():
            table.add_row(name, clock(seconds))
        table.add_section()
        table.add_row("in all", clock(sum(self._seconds.values())))
        return table


def tool_environment() -> dict[str, str]:
    """The environment for commands: this interpreter's tools first, no settings of a server that runs elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("RICEFISH_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, **_SETTINGS}
