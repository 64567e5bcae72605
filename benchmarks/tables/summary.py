"""Summary: mean and spread over seeds, paired differences from each row's control; as CSV, Markdown and terminal."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t

from benchmarks.tables.measuring import Cell
from benchmarks.tables.rows import ROWS

CONFIDENCE = 0.95
_COLUMNS = ("row", "budget", "seeds", "dice", "dice_sd", "iou", "hd95_mm", "gain", "gain_low", "gain_high", "above")


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the ends of its 95 % interval (Student's t); with one seed it has no ends."""

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Of one value a seed, at least one."""
        mean = statistics.fmean(values)
        if len(values) < 2:
            return cls(mean, None, None)
        half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
        return cls(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Line:
    """One row at one label budget, over seeds."""

    row: str
    budget: int
    seeds: int
    dice: float
    dice_sd: float | None
    """None with one seed."""
    iou: float
    hd95_mm: float | None
    """Mean over the seeds that have one."""
    gain: Interval | None
    """Dice less that of its control, seed by seed; None for a control itself, and where no seed has both."""
    above: int
    """Seeds in which it is above its control."""


def lines(cells: Sequence[Cell]) -> tuple[Line, ...]:
    """By budget, then in the order of ROWS."""
    budgets = sorted({cell.budget for cell in cells})
    found = [(budget, row, _of(cells, budget, row)) for budget in budgets for row in ROWS]
    return tuple(_line(budget, row, own, _of(cells, budget, ROWS[row].control)) for budget, row, own in found if own)


def _of(cells: Sequence[Cell], budget: int, row: str) -> Mapping[int, Cell]:
    return {cell.seed: cell for cell in cells if (cell.budget, cell.row) == (budget, row)}


def _line(budget: int, row: str, own: Mapping[int, Cell], control: Mapping[int, Cell]) -> Line:
    dice = [cell.dice for cell in own.values()]
    gains = [own[seed].dice - control[seed].dice for seed in own if seed in control] if row != ROWS[row].control else []
    distances = [cell.hd95_mm for cell in own.values() if cell.hd95_mm is not None]
    return Line(
        row=row,
        budget=budget,
        seeds=len(own),
        dice=statistics.fmean(dice),
        dice_sd=statistics.stdev(dice) if len(dice) > 1 else None,
        iou=statistics.fmean(cell.iou for cell in own.values()),
        hd95_mm=statistics.fmean(distances) if distances else None,
        gain=Interval.of(gains) if gains else None,
        above=sum(gain > 0 for gain in gains),
    )


def as_csv(found: Sequence[Line]) -> str:
    """One line per row and budget; a figure that there is none of is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for line in found:
        gain = (None, None, None) if line.gain is None else (line.gain.mean, line.gain.low, line.gain.high)
        figures = (line.dice, line.dice_sd, line.iou, line.hd95_mm, *gain)
        rounded = ("" if figure is None else round(figure, 6) for figure in figures)
        writer.writerow((line.row, line.budget, line.seeds, *rounded, line.above))
    return file.getvalue()


def as_markdown(found: Sequence[Line]) -> str:
    """A table; the last columns say what a row gives beyond its control, in points of Dice."""
    heads = ("labelled volumes", "row", "Dice", "IoU", "HD95 mm", "against its control, points of Dice", "above it")
    drawn = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    drawn += [f"| {' | '.join(_cells(line))} |" for line in found]
    return "\n".join(drawn) + "\n"


def _cells(line: Line) -> tuple[str, ...]:
    spread = "" if line.dice_sd is None else f" ± {line.dice_sd:.3f}"
    hd95 = "" if line.hd95_mm is None else f"{line.hd95_mm:.3g}"
    above = "" if line.gain is None else f"{line.above} of {line.seeds}"
    return (
        str(line.budget),
        ROWS[line.row].label,
        f"{line.dice:.3f}{spread}",
        f"{line.iou:.3f}",
        hd95,
        "" if line.gain is None else said(line.gain),
        above,
    )


def said(gain: Interval) -> str:
    """In points: `+1.2 (-0.3 to +2.7)`."""
    if gain.low is None or gain.high is None:
        return f"{100 * gain.mean:+.1f}"
    return f"{100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
