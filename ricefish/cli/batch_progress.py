"""How a batch goes on: two bars on a terminal, scans and slices; elsewhere a line for each scan that has ended."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ricefish.cli.batch import BatchItem, Ending, Outcome, Phase, Watcher
from ricefish.client.scan_status import ScanStatus

PHASES: tuple[Phase, ...] = ("reading", "sending", "segmenting", "fetching")
WORDS: dict[Ending, str] = {"done": "done", "there": "there already", "failed": "failed"}


class BatchProgress(Watcher):
    """One display of all scans; use it as a context manager."""

    def __init__(self, console: Console, *, scans: int) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._phases: dict[BatchItem, Phase] = {}
        self._slices: dict[BatchItem, tuple[int, int]] = {}
        self._ended = 0
        self._failed = 0
        self._all = scans
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
        times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[now]}"))
        self._bars = Progress(*columns, *times, console=console, disable=not console.is_terminal)
        self._scans_bar = self._bars.add_task("scans", total=scans, now="")
        self._slices_bar = self._bars.add_task("slices", total=None, now="")

    def __enter__(self) -> BatchProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def began(self, item: BatchItem, phase: Phase) -> None:
        """A scan has come to another phase."""
        with self._lock:
            self._phases[item] = phase
            self._draw()

    def segmented(self, item: BatchItem, status: ScanStatus) -> None:
        """So many of its slices are done."""
        with self._lock:
            self._slices[item] = (status.slices_done, status.slices_total)
            self._draw()

    def ended(self, outcome: Outcome) -> None:
        """Says it in a line where that is of use: everywhere but on a terminal, and there of what went wrong."""
        with self._lock:
            self._phases.pop(outcome.item, None)
            self._ended += 1
            self._failed += outcome.ending == "failed"
            self._draw()
        if self._bars.disable or outcome.ending == "failed":
            said = f"{self._ended} of {self._all} {outcome.item.path}: {WORDS[outcome.ending]}"
            self._say(said if outcome.error is None else f"{said}: {outcome.error}")
        for warning in () if outcome.scan is None else outcome.scan.warnings:
            self._say(f"{outcome.item.path}: warning: {warning}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> None:
        phases = Counter(self._phases.values())
        now = [
            f"{phase} {phases[phase]}" for phase in ("reading", "sending", "segmenting", "fetching") if phases[phase]
        ]
        now += [f"failed {self._failed}"] if self._failed else []
        self._bars.update(self._scans_bar, completed=self._ended, now=", ".join(now))
        done, total = (
            (sum(counts) for counts in zip(*self._slices.values(), strict=True)) if self._slices else (0, None)
        )
        self._bars.update(self._slices_bar, completed=done, total=total)


class _Rate(ProgressColumn):
    """How many a second, lately."""

    def render(self, task: Task) -> Text:
        return Text("" if not task.speed else f"{task.speed:.1f}/s")
