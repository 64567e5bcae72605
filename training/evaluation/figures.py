"""The figures of a run: overlays, bars per organ, training curves, and the Quality Classifier's ROC."""

from __future__ import annotations

import csv
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from scans.intensity import Window
from scans.organs import Colour, OrganMap
from scans.overlay import overlay

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
COLOURS = {"teacher": "#8fa3b8", "control": "#4c9f70", "student": "#e0572f", "classifier": "#5b3e96"}
DPI = 150
ROW_TITLE_INCHES = 0.75
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "ricefish",
}


@dataclass(frozen=True)
class OverlayRow:
    """One slice of the overlay figure."""

    title: str
    """Volume, experiment, slice."""
    slice: NDArray[Any]
    """(Y, X) raw grey values."""
    aspect: float
    """Height of a voxel in its widths, in mm each."""
    window: Window
    segmentations: Mapping[str, NDArray[np.uint8]]
    """Column title -> uint8 (Y, X) class indices; the same titles, in the same order, in every row."""
    captions: Mapping[str, str]
    """Column title -> what is written under the picture, where anything is."""


def draw_overlays(path: Path, rows: Sequence[OverlayRow], organs: OrganMap) -> None:
    """A row per slice: the slice alone, then under each segmentation, with a legend of the organs.

    Raises ValueError if there is no row.
    """
    if not rows:
        raise ValueError(f"{path} needs at least one slice to draw")
    columns = ["slice", *rows[0].segmentations]
    legend_columns = min(len(organs), 6)
    legend_inches = 0.24 * math.ceil(len(organs) / legend_columns) + 0.15
    heights = [2.3 * min(max(row.aspect * row.slice.shape[0] / row.slice.shape[1], 0.4), 1.8) + 0.2 for row in rows]
    size = (2.3 * len(columns) + ROW_TITLE_INCHES, sum(heights) + legend_inches + 0.3)
    with _figure(path, size, background="#0b0f14") as figure:
        top, bottom = 1 - 0.3 / size[1], legend_inches / size[1]
        grid = figure.add_gridspec(
            len(rows), len(columns), left=ROW_TITLE_INCHES / size[0], right=0.995, top=top, bottom=bottom,
            wspace=0.02, hspace=0.02, height_ratios=heights,
        )  # fmt: skip
        for number, row in enumerate(rows):
            pictures = {"slice": np.zeros(row.slice.shape, dtype=np.uint8), **row.segmentations}
            for column, (name, segmentation) in enumerate(pictures.items()):
                axes = figure.add_subplot(grid[number, column])
                picture = overlay(row.slice, segmentation, window=row.window, palette=organs.palette)
                axes.imshow(picture, interpolation="nearest", aspect=row.aspect)
                _bare(axes, below=row.captions.get(name, ""))
                if number == 0:
                    axes.set_title(name, color="white", pad=4)
                if column == 0:
                    axes.set_ylabel(row.title, color="#cbd2d9", fontsize=7.5)
        patches = [Patch(color=_rgb(o.colour), label=o.name.replace("_", " ")) for o in organs.organs]
        figure.legend(
            handles=patches, loc="lower center", ncols=legend_columns, labelcolor="#e4e7eb", fontsize=8,
            handlelength=1.0, handleheight=1.0, columnspacing=1.6, borderaxespad=0.3,
        )  # fmt: skip


def _rgb(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = colour
    return (red / 255, green / 255, blue / 255)


def _bare(axes: Axes, *, below: str) -> None:
    axes.set(xticks=[], yticks=[], frame_on=False)
    axes.grid(visible=False)
    axes.set_xlabel(below, color="#cbd2d9", fontsize=7.5, labelpad=2)


@dataclass(frozen=True)
class OrganBars:
    """One network's scores of the bar figure."""

    title: str
    dice: Mapping[str, float | None]
    """Organ -> mean Dice over the volumes; None: absent from all."""
    mean_dice: float
    volumes: Mapping[str, Sequence[float]]
    """Organ -> the Dice of each volume that it can be scored in."""


def draw_organs(path: Path, networks: Mapping[str, OrganBars], *, left_out: Mapping[str, int]) -> None:
    """Dice per organ: a bar for each network, a dot for each volume; the keys of `networks` choose the colours.

    `left_out` is, per organ, the number of volumes that neither truth nor the last network has it in.
    """
    names = list(left_out)
    height = 0.8 / len(networks)
    with _figure(path, (7.6, 0.25 * len(networks) * len(names) + 1.5)) as figure:
        axes = figure.add_subplot()
        for number, (key, bars) in enumerate(networks.items()):
            colour, offset = COLOURS[key], (number - (len(networks) - 1) / 2) * height
            places = np.arange(len(names)) + offset
            values = [bars.dice[name] or 0.0 for name in names]
            label = f"{bars.title}, mean {bars.mean_dice:.3f}"
            axes.barh(places, values, height * 0.92, color=colour, label=label)
            axes.axvline(bars.mean_dice, color=colour, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1.5)
            for place, name in zip(places, names, strict=True):
                dots = bars.volumes[name]
                axes.plot(dots, [place] * len(dots), "o", markersize=2.6, color=INK, alpha=0.55, markeredgewidth=0)
                text = "none" if bars.dice[name] is None else f"{bars.dice[name]:.2f}"
                axes.text(1.015, place, text, va="center", fontsize=7.5, color=colour, fontweight="bold")
        absent = {name: f"\n(absent from {count})" if count else "" for name, count in left_out.items()}
        axes.set_yticks(range(len(names)), [name.replace("_", " ") + absent[name] for name in names])
        axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="Dice: bar, mean over volumes; dot, one volume")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(networks), borderaxespad=0.2)


def draw_curves(path: Path, histories: Mapping[str, Path]) -> None:
    """A panel per training: every number that its CSV has of each epoch, over epochs. Missing files are left out.

    `histories` is title -> CSV whose columns are `epoch` and numbers; step and learning rate are not drawn.
    """
    found = {title: table for title, file in histories.items() if (table := read_columns(file))}
    with _figure(path, (3.5 * max(len(found), 1) + 0.3, 3.0)) as figure:
        for number, (title, table) in enumerate(found.items()):
            axes = figure.add_subplot(1, len(found), number + 1)
            epochs = table["epoch"]
            lines = [name for name in table if name not in ("epoch", "step", "learning_rate")]
            for shade, name in enumerate(lines):
                colour = mpl.colormaps["viridis"](0.8 * shade / max(len(lines) - 1, 1))
                main = name == "loss"
                axes.plot(
                    epochs, table[name], color=INK if main else colour, linewidth=2.0 if main else 1.3,
                    marker="o", markersize=3, label=name.replace("_", " "), zorder=3 if main else 2,
                )  # fmt: skip
            axes.set(title=title, xlabel="epoch", ylim=(0, None), xlim=(min(epochs) - 0.3, max(epochs) + 0.3))
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
            axes.legend(fontsize=7.5)
        figure.subplots_adjust(left=0.45 / figure.get_figwidth(), right=0.985, top=0.9, bottom=0.16, wspace=0.18)


def draw_roc(path: Path, curve: Path, *, threshold: float, auc: float | None, missing: str | None) -> None:
    """The ROC of held-out examples and, beside it, what each threshold keeps and how much of that is good."""
    table = read_columns(curve)
    with _figure(path, (7.4, 3.5)) as figure:
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        left.plot(table["false_positive_rate"], table["true_positive_rate"], color=COLOURS["classifier"], linewidth=2)
        left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title="ROC on held-out examples",
                 xlabel="bad slices kept", ylabel="good slices kept")  # fmt: skip
        said = f"AUC {auc:.3f}" if auc is not None else textwrap.fill(f"No AUC: {missing}", 34)
        left.text(0.97, 0.06, said, ha="right", fontweight="bold", bbox={"color": "white", "alpha": 0.8})
        kept = [i for i, value in enumerate(table["threshold"]) if value >= threshold]
        if kept:
            at = kept[-1]
            left.plot(table["false_positive_rate"][at], table["true_positive_rate"][at], "o", color=COLOURS["student"])
        finite = [*np.minimum(table["threshold"], 1.0), 0.0]
        for name, colour, label in (
            ("precision", COLOURS["classifier"], "good among kept"),
            ("kept_share", COLOURS["teacher"], "kept"),
        ):
            right.step(finite, [*table[name], table[name][-1]], where="post", color=colour, linewidth=2, label=label)
        right.axvline(threshold, color=COLOURS["student"], linewidth=1.2, label=f"threshold {threshold:g}")
        right.set(xlim=(0, 1), ylim=(-0.02, 1.02), title="What a threshold keeps", xlabel="threshold", ylabel="share")
        right.legend(fontsize=7.5, loc="lower left")
        figure.subplots_adjust(left=0.08, right=0.98, top=0.9, bottom=0.14, wspace=0.25)


def read_columns(path: Path) -> dict[str, list[float]]:
    """Column name -> numbers, one per line; an empty field is NaN. Empty where the file is missing or has no line."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]} if rows else {}


@contextmanager
def _figure(path: Path, inches: tuple[float, float], *, background: str = "white") -> Iterator[Figure]:
    """An empty figure, written to `path` at the end: the same numbers give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=inches, dpi=DPI, facecolor=background)
        yield figure
        tight: dict[str, Any] = {} if background != "white" else {"bbox_inches": "tight", "pad_inches": 0.12}
        figure.savefig(path, format="png", metadata={"Software": None}, **tight)
