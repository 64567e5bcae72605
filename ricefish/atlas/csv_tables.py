"""organs.csv and groups.csv, and columns.md beside them, which says what each column is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from ricefish.atlas.outliers import LIMIT, Outlier
from ricefish.atlas.records import MEASURES, FishRecord, OrganRecord
from ricefish.atlas.summary import GroupSummary

_ORGAN_COLUMNS = (
    ("fish", "name: of its file without the suffix"),
    ("scan", "path of its labels, or its id on the server"),
    ("group", "from the table of groups"),
    ("organ", "name"),
    ("voxels", "that it has; 0: it was not found, and nothing else is known of it"),
    *((measure.name, f"{measure.meaning}{f' ({measure.unit})' if measure.unit else ''}") for measure in MEASURES),
    ("dice_low", "its true Dice lies between dice_low ..."),
    ("dice_high", "... and dice_high nine times of ten; both empty where the server says nothing of it"),
    (
        "share_of",
        "fish: one label is the rest of the body, so that all labels are the fish; labelled organs: all of them",
    ),
    ("surface_step", "every how many-th voxel along each axis the surface is made of: 1 but for very large organs"),
    ("asymmetry_of", "pair or halves: see asymmetry"),
    ("touches_border", "yes: it reaches the border of the scan, its size is a lower bound, and it is in no mean"),
    ("fish_touches_border", "yes: some label does; shares are then of a part of the fish, and in no mean"),
    ("axes", "how the directions towards head, left and back are known"),
    ("out_of_line", f"measures in which it is out of line: modified z above {LIMIT}"),
)
_GROUP_COLUMNS = (
    ("group", "from the table of groups; all where there is none"),
    ("organ", "name"),
    ("measure", "a column of organs.csv"),
    ("unit", "mm, mm², mm³ or none"),
    ("n", "fish that count"),
    ("mean", "of them"),
    ("sd", "spread of them: standard deviation (n - 1)"),
    ("low95", "the mean of all such fish lies between low95 ..."),
    ("high95", "... and high95 with 95 % confidence (Student's t), if the measure is normally distributed"),
    ("absent", "fish in which the organ was not found"),
    ("cut_off", "fish left out as the organ, or for shares any, reaches the border of the scan"),
    ("unknown", "fish left out as the value is not known"),
)

_AXES = """\
The axes of a fish are the principal axes of all its labelled voxels in mm, the longest from tail to head, so that no
number depends on how it lay in the scan. `axes` says how each direction is known:

- head: `organs`, where eyes, brain, ears, gills or jaw are; `heavier end`, where none is labelled: the end at which
  the voxels are crowded; `scan`: neither tells, and it runs as the scan's axes do.
- left: `pairs`, where left_X and right_X say; of the two shorter axes, the one along which they lie. `other axes`: no
  pairs; it is the shortest axis, as a fish is higher than wide, and left of head and back.
- back: `organs`, where spine, notochord and kidney are, and heart, liver and gut are not; `other axes`: it follows from
  head and left; `heavier end`: neither tells, and it is the lighter side, as the belly is the heavier.

Extents are from the outermost voxels' middles, with half a voxel more at each end.
"""


def organs_csv(fish: Sequence[FishRecord], outliers: Sequence[Outlier]) -> str:
    """A row for each fish and organ that its labels may have."""
    flagged: dict[tuple[str, str], list[str]] = {}
    for outlier in outliers:
        flagged.setdefault((outlier.fish, outlier.organ), []).append(outlier.measure.name)
    rows = (_organ_row(one, organ, flagged.get((one.name, organ.organ), ())) for one in fish for organ in one.organs)
    return _csv([name for name, _ in _ORGAN_COLUMNS], rows)


def _organ_row(fish: FishRecord, organ: OrganRecord, flagged: Sequence[str]) -> list[object]:
    measured = [measure.value(organ) if organ.voxels else None for measure in MEASURES]
    return [
        *(fish.name, fish.source, fish.group, organ.organ, organ.voxels),
        *map(_number, measured),
        *(_number(organ.dice_low), _number(organ.dice_high), fish.share_of),
        *(organ.surface_step if organ.voxels else "", organ.asymmetry_of, _yes(organ.touches_border)),
        *(_yes(fish.touches_border), fish.axes, " ".join(flagged)),
    ]


def groups_csv(summaries: Sequence[GroupSummary]) -> str:
    """A row for each group, organ and measure of which any fish has a value, or might have."""
    rows = (
        [
            *(one.group, one.organ, one.measure.name, one.measure.unit, one.count),
            *map(_number, (one.mean, one.sd, one.low, one.high)),
            *(one.absent, one.cut_off, one.unknown),
        ]
        for one in summaries
    )
    return _csv([name for name, _ in _GROUP_COLUMNS], rows)


def columns_page(*, cut_off: bool) -> str:
    """columns.md: every column of both tables."""
    parts = ["# Atlas\n", "Made by `ricefish atlas`. `atlas.html` shows it; these are its tables.\n"]
    if cut_off:
        parts.append("Organs that reach the border of their scan are in the means: `--with-cut-off` was given.\n")
    for title, columns in (("organs.csv", _ORGAN_COLUMNS), ("groups.csv", _GROUP_COLUMNS)):
        parts += [f"## {title}\n", "| column | what it is |", "|---|---|"]
        parts += [f"| {name} | {meaning.replace('|', '/')} |" for name, meaning in columns]
        parts.append("")
    return "\n".join([*parts, "## Axes\n", _AXES])


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    return text.getvalue()


def _safe(cell: object) -> object:
    """A text that a spreadsheet takes for a formula, as a text."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t") else cell


def _number(value: float | None) -> str | float:
    return "" if value is None else float(f"{value:.6g}")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
