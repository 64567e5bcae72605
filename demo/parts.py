"""The parts of the demo: each is announced, timed, and named when it fails."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table


class DemoError(RuntimeError):
    """A part that failed; the message says what happened and where it is written down."""


class Parts:
    """Times of the parts that ran, in seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seconds: dict[str, float] = {}
        self.current = "start"

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Announces a part and keeps how long it took."""
        self.current = name
        self._console.rule(f"[bold]{name}", align="left")
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = time.monotonic() - started

    def table(self) -> Table:
        """Elapsed time per part."""
        table = Table("part", "time", title="How long it took", title_justify="left")
        for name, seconds in self._seconds.items():
            table.add_row(name, _clock(seconds))
        table.add_section()
        table.add_row("in all", _clock(sum(self._seconds.values())))
        return table


def run(command: Sequence[str], *, folder: Path) -> None:
    """Runs a command whose output goes where ours goes. Raises DemoError if it fails."""
    code = subprocess.run(command, cwd=folder, env=tool_environment(), check=False).returncode
    if code:
        raise DemoError(f"`{shlex.join(command)}` ended with exit code {code}; what it said stands above")


def tool_environment() -> dict[str, str]:
    """The environment for commands: this interpreter's tools first, no settings of a server that runs elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("RICEFISH_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
