"""Progress bars with rate and ETA on a terminal, and silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Item = TypeVar("Item")


class _Rate(ProgressColumn):
    """Units per second, or seconds per unit where that is the larger number."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} {self._unit}/s" if speed >= 1 else f"{1 / speed:.1f} s/{self._unit}")


def track(
    iterable: Iterable[Item], *, description: str, total: int, unit: str, console: Console | None = None
) -> Iterator[Item]:
    """The items of `iterable`, drawn as a bar on standard error while they pass; on no terminal nothing is written.

    `total` is how many items there will be, `unit` what one is called: step, slice, volume.
    """
    console = console or Console(file=sys.stderr)
    if not console.is_terminal:
        yield from iterable
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
