"""How a batch goes on: two bars on a terminal, scans and slices; elsewhere a line for each scan that has ended."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text

from ricefish.cli.batch import BatchItem, Ending, Outcome, Phase, Watcher
from ricefish.client.scan_status import ScanStatus

_LATELY_SECONDS = 120.0
PHASES: tuple[Phase, ...] = ("reading", "sending", "segmenting", "fetching")
WORDS: dict[Ending, str] = {"done": "done", "there": "there already", "failed": "failed"}


class BatchProgress(Watcher):
    """One display of all scans; use it as a context manager."""

    def __init__(self, console: Console, *, scans: int) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._phases: dict[BatchItem, Phase] = {}
        self._slices: dict[BatchItem, tuple[int, int]] = {}
        self._rate = _Rate()
        self._ended = 0
        self._failed = 0
        self._all = scans
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), _Times())
        self._bars = Progress(
            *columns,
            TextColumn("{task.fields[now]}"),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=_LATELY_SECONDS,
        )
        self._scans_bar = self._bars.add_task("scans", total=scans, count=f"0/{scans:,}", now="", rate=None)
        self._slices_bar = self._bars.add_task("slices", total=None, count="", now="", rate=self._rate)

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
            before = self._slices.get(item, (status.slices_done, 0))[0]
            self._rate.add(status.slices_done - before)
            self._slices[item] = (status.slices_done, status.slices_total)
            self._draw()

    def ended(self, outcome: Outcome) -> None:
        """Says in a line what has failed and, where no bars are drawn, what is done."""
        with self._lock:
            self._phases.pop(outcome.item, None)
            self._ended += 1
            self._failed += outcome.ending == "failed"
            self._draw()
        if outcome.ending == "failed" or (outcome.ending == "done" and self._bars.disable):
            said = f"{self._ended} of {self._all} {outcome.item.path}: {WORDS[outcome.ending]}"
            self._say(said if outcome.error is None else f"{said}: {outcome.error}")
        for warning in () if outcome.scan is None else outcome.scan.warnings:
            self._say(f"{outcome.item.path}: warning: {warning}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> None:
        """A scan under way counts by its share of slices, so that there is a time left before the first has ended."""
        phases = Counter(self._phases.values())
        now = [f"{phase} {phases[phase]}" for phase in PHASES if phases[phase]]
        now += [f"failed {self._failed}"] if self._failed else []
        under_way = sum(done / total for item, (done, total) in self._slices.items() if item in self._phases)
        count = f"{self._ended:,}/{self._all:,}"
        self._bars.update(self._scans_bar, completed=self._ended + under_way, count=count, now=", ".join(now))
        done, total = (sum(counts) for counts in zip((0, 0), *self._slices.values(), strict=True))
        self._bars.update(self._slices_bar, completed=done, total=total or None, count=f"{done:,}/{total:,}")


class _Rate:
    """Slices a second, lately; Rich begins anew to measure whenever a total grows."""

    def __init__(self) -> None:
        self._came: deque[tuple[float, int]] = deque()
        self._began = time.monotonic()

    def add(self, slices: int) -> None:
        """So many more are done."""
        now = time.monotonic()
        self._came.append((now, slices))
        while self._came[0][0] < now - _LATELY_SECONDS:
            self._came.popleft()

    @property
    def per_second(self) -> float:
        """Over the last seconds, or as long as it has been counted."""
        now = time.monotonic()
        since = max(self._began, now - _LATELY_SECONDS)
        return sum(slices for at, slices in tuple(self._came) if at >= since) / max(now - since, 1.0)


class _Times(ProgressColumn):
    """Of scans the time that is left, of slices how many a second, lately."""

    def render(self, task: Task) -> Text:
        rate: _Rate | None = task.fields["rate"]
        if rate is not None:
            return Text(f"{rate.per_second:.1f} slices/s" if rate.per_second else "")
        left = task.time_remaining
        return Text("" if left is None or task.finished else f"{timedelta(seconds=round(left))} left")
