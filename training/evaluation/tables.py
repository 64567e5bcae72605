"""The tables of stage evaluate, as the terminal shows them: no wider than 80 columns where organs have short names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from training.evaluation.differences import Difference
from training.evaluation.report import mean_over_volumes

_HEADINGS = {"dice": "Dice", "iou": "IoU", "surface_dice": "surface\nDice", "hd95_mm": "HD95 mm"}
_FORMS = {"dice": "{:.3f}", "iou": "{:.3f}", "surface_dice": "{:.3f}", "hd95_mm": "{:.3g}"}
_SIGNED = {"dice": "{:+.3f}", "iou": "{:+.3f}", "surface_dice": "{:+.3f}", "hd95_mm": "{:+.2f}"}


def evaluation_tables(
    networks: Mapping[str, Any], differences: Mapping[str, Mapping[str, Difference]]
) -> Iterator[Table]:
    """Overlap of every network per organ, its surfaces, and how the networks differ."""
    volumes = len(networks["student"]["volumes"])
    yield _scores(networks, ("dice", "iou"), title=f"Mean over {volumes} validation volumes: overlap")
    yield _scores(networks, ("surface_dice", "hd95_mm"), title=f"Mean over {volumes} validation volumes: surfaces")
    yield _differences(differences)


def _scores(networks: Mapping[str, Any], figures: tuple[str, ...], *, title: str) -> Table:
    drawn = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    drawn.add_column("organ", no_wrap=True)
    for figure in figures:
        for name in networks:
            drawn.add_column(f"{_HEADINGS[figure]}\n{name.capitalize()}", justify="right")
    drawn.add_column("absent\nfrom", justify="right")
    for organ in networks["student"]["organs"]:
        drawn.add_row(organ, *_cells(networks, organ, figures))
    drawn.add_section()
    means = (_cell(networks[name][f"mean_{figure}"], figure) for figure in figures for name in networks)
    drawn.add_row("mean", *means, "", style="bold")
    return drawn


def _cells(networks: Mapping[str, Any], organ: str, figures: tuple[str, ...]) -> Iterator[str]:
    for figure in figures:
        for report in networks.values():
            yield _cell(mean_over_volumes(report, organ, figure), figure)
    left_out = dict.fromkeys(str(report["organs"][organ]["left_out"]) for report in networks.values())
    yield ", ".join(left_out)


def _cell(value: float | None, figure: str) -> str:
    return "none" if value is None else _FORMS[figure].format(value)


def _differences(found: Mapping[str, Mapping[str, Difference]]) -> Table:
    """A row for each pair: the difference of the means, and below it the interval that holds 95 % of the draws."""
    missing = {of_figure.interval_missing for of_pair in found.values() for of_figure in of_pair.values()} - {None}
    caption = (
        f"No interval: {', '.join(map(str, missing))}." if missing else "Below: 95 % interval, bootstrap over volumes"
    )
    drawn = Table(
        title="Differences of the means", title_justify="left", caption=caption, caption_justify="left",
        box=SIMPLE_HEAD, padding=0,
    )  # fmt: skip
    drawn.add_column("", no_wrap=True)
    for heading in _HEADINGS.values():
        drawn.add_column(heading, justify="right", no_wrap=True)
    for pair, of_pair in found.items():
        better, worse = pair.split("-")
        cells = (_difference(of_pair[figure], figure) for figure in _HEADINGS)
        drawn.add_row(f"{better.capitalize()}\n- {worse.capitalize()}", *cells)
    return drawn


def _difference(found: Difference, figure: str) -> str:
    form = _SIGNED[figure]
    if found.interval is None:
        return form.format(found.mean)
    low, high = (form.format(end) for end in found.interval)
    return f"{form.format(found.mean)}\n{low} to {high}"
