"""Progress with rate and ETA: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Item = TypeVar("Item")

LINE_SECONDS = 10.0
"""Between two lines where there is no terminal; what takes less time writes none."""


class _Rate(ProgressColumn):
    """Units per second, or seconds per unit where that is the larger number."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(_rate(speed, self._unit))


def track(
    iterable: Iterable[Item],
    *,
    description: str,
    total: int,
    unit: str,
    console: Console | None = None,
    line_seconds: float = LINE_SECONDS,
) -> Iterator[Item]:
    """The items of `iterable`, drawn as a bar on standard error while they pass.

    Where that is no terminal, as in a job or a log, a line says after each `line_seconds` how far it is. `total` is how
    many items there will be, `unit` what one is called: step, slice, volume.
    """
    console = console or Console(file=sys.stderr)
    if not console.is_terminal:
        yield from _told(iterable, description=description, total=total, unit=unit, line_seconds=line_seconds)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield from bar.track(iterable, description=description, total=total)


def _told(iterable: Iterable[Item], *, description: str, total: int, unit: str, line_seconds: float) -> Iterator[Item]:
    began = told = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - told >= line_seconds and done < total:
            told = now
            seconds = now - began
            left = seconds / done * (total - done)
            rate = _rate(done / seconds, unit)
            print(f"{description}: {unit} {done} of {total}, {rate}, {_clock(left)} left", file=sys.stderr, flush=True)


def _rate(speed: float, unit: str) -> str:
    return f"{speed:.1f} {unit}/s" if speed >= 1 else f"{1 / speed:.1f} s/{unit}"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
