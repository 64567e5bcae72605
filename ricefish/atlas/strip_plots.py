"""Strip plots: every fish a point, groups below one another, their means with intervals: places in a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ricefish.atlas.records import FishRecord, Measure
from ricefish.atlas.summary import GroupSummary

WIDTH, LEFT, RIGHT = 460, 112, 18
"""Pixels of a plot; those of them for the names of groups, and for the last label of the axis."""
ROW, TOP, BOTTOM = 38, 8, 26
"""Pixels for each group, above them all and for the axis."""
_SPREAD_PIXELS = 11
"""By which points lie above and below the middle of their row, so that they do not hide each other."""
_TICKS = 5
_ROOM = 0.06
"""Of the range, beyond its ends."""


@dataclass(frozen=True)
class Point:
    """One fish."""

    x: float
    y: float
    title: str
    flagged: bool
    cut_off: bool
    """It is a lower bound."""


@dataclass(frozen=True)
class GroupRow:
    """One group."""

    name: str
    number: int
    """From 0, for its colour."""
    y: float
    points: tuple[Point, ...]
    mean: float | None
    low: float | None
    high: float | None
    """Places along x."""
    said: str
    """Its mean in words."""


@dataclass(frozen=True)
class StripPlot:
    """One measure of one organ."""

    organ: str
    colour: str
    height: int
    rows: tuple[GroupRow, ...]
    ticks: tuple[tuple[float, str], ...]
    """Place along x, and what stands there."""
    said: str
    """What it shows, for who does not see it."""


def strip_plot(
    fish: Sequence[FishRecord], summaries: Sequence[GroupSummary], flagged: Mapping[str, bool], *, colour: str
) -> StripPlot | None:
    """Of the summaries of one measure of one organ, one for each group; None where no fish has a value."""
    organ, measure = summaries[0].organ, summaries[0].measure
    values = {one.name: value for one in fish if (value := _value(one, organ, measure)) is not None}
    if not values:
        return None
    ends = [end for one in summaries for end in (one.low, one.high) if end is not None]
    ticks, place = _axis([*values.values(), *_near(ends, list(values.values()))])
    rows = []
    for number, summary in enumerate(summaries):
        y = TOP + ROW * (number + 0.5)
        own = [one for one in fish if one.group == summary.group and one.name in values]
        points = [
            Point(
                x=place(values[one.name]),
                y=y + _offset(position),
                title=f"{one.name}: {_number(values[one.name])} {measure.unit}".strip(),
                flagged=flagged.get(one.name, False),
                cut_off=measure.counted(one, one.organ(organ), cut_off=False) == "cut off",
            )
            for position, one in enumerate(sorted(own, key=lambda one: values[one.name]))
        ]
        low, mean, high = (None if v is None else place(v) for v in (summary.low, summary.mean, summary.high))
        rows.append(GroupRow(summary.group, number, y, tuple(points), mean, low, high, said(summary)))
    text = f"{measure.title} of {organ}. " + "; ".join(f"{row.name}: {row.said}" for row in rows)
    return StripPlot(organ, colour, TOP + ROW * len(rows) + BOTTOM, tuple(rows), ticks, text)


def said(summary: GroupSummary, *, unit: bool = True) -> str:
    """`1.23 ± 0.11 mm³ (n 6)`: mean, spread, unit and number of fish."""
    if summary.mean is None:
        return "none"
    spread = "" if summary.sd is None else f" ± {_number(summary.sd)}"
    shown = f" {summary.measure.unit}" if unit and summary.measure.unit else ""
    return f"{_number(summary.mean)}{spread}{shown} (n {summary.count})"


def _value(fish: FishRecord, organ: str, measure: Measure) -> float | None:
    """Also of an organ that is cut off, whose point is hollow."""
    counted = measure.counted(fish, fish.organ(organ), cut_off=True)
    return None if isinstance(counted, str) else counted


def _near(ends: Sequence[float], values: Sequence[float]) -> list[float]:
    """Ends of intervals, but for those of two or three fish that would squeeze all points together."""
    span = max(values) - min(values)
    return [min(max(end, min(values) - span / 2), max(values) + span / 2) for end in ends]


def _axis(values: Sequence[float]) -> tuple[tuple[tuple[float, str], ...], _Scale]:
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(high), abs(low), 1e-12):
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    room = _ROOM * (high - low)
    scale = _Scale(low - room, high + room)
    step = round_step((high - low) / _TICKS)
    first = math.ceil(scale.low / step)
    places = [number * step for number in range(first, math.floor(scale.high / step) + 1)]
    digits = max(0, -math.floor(math.log10(step)))
    return tuple((scale(value), f"{value + 0.0:.{digits}f}") for value in places), scale


@dataclass(frozen=True)
class _Scale:
    """From a value to its place along x."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT), 1)


def round_step(least: float) -> float:
    """The least of 1, 2 or 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _offset(position: int) -> float:
    """Up and down in turn, by the golden ratio: neighbours in value are far apart, and every run draws the same."""
    return round((2 * ((position * 0.618033988749895 + 0.5) % 1.0) - 1) * _SPREAD_PIXELS, 1)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
