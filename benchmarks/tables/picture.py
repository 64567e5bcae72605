"""The picture of a table: Dice of each row over the label budget, with the spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from benchmarks.tables.rows import ROWS
from benchmarks.tables.summary import Line

_COLOURS = ("#bbbbbb", "#222222", "#ccbb44", "#66ccee", "#4477aa", "#aa3377", "#228833", "#ee6677")
_STYLES = ("-o", "--s")
"""Line and marker; the second for rows beyond the number of colours."""
_STAGGER = 0.02
"""Of the axis, so that the bars of rows do not hide each other."""


def draw_table(path: Path, lines: Sequence[Line], *, title: str) -> None:
    """Writes a PNG: one line per row, a bar of one standard deviation at each budget."""
    mpl.use("Agg")
    budgets = sorted({line.budget for line in lines})
    figure, axes = plt.subplots(figsize=(11, 4.5), constrained_layout=True)
    rows = [row for row in ROWS if any(line.row == row for line in lines)]
    for number, row in enumerate(rows):
        own = [line for line in lines if line.row == row]
        places = [budgets.index(line.budget) + (number - len(rows) / 2) * _STAGGER for line in own]
        axes.errorbar(
            places,
            [line.dice for line in own],
            yerr=[line.dice_sd or 0.0 for line in own],
            label=ROWS[row].label,
            color=_COLOURS[number % len(_COLOURS)],
            fmt=_STYLES[number // len(_COLOURS) % len(_STYLES)],
            markersize=4,
            linewidth=1.2,
            capsize=2,
        )
    axes.set_xticks(range(len(budgets)), [str(budget) for budget in budgets])
    axes.set_xlabel("labelled volumes")
    axes.set_ylabel("mean Dice")
    axes.set_title(title)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(path, dpi=110)
    plt.close(figure)
