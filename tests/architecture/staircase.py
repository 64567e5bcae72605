"""A layered graph as SVG: boxes in rows from the top floor down, one line to each box from all that point at it.

Every arrow goes down, so that a look shows that there is no circle; no two lines lie on each other, and where a row
crosses a line without a number, nothing points.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from html import escape

Box = tuple[str, str, Sequence[str]]
"""Name, one sentence, and the small words inside."""

_MARGIN, _FLOOR_WIDTH, _BOX_WIDTH, _LANE = 16, 62, 560, 36
_TITLE_HEIGHT, _LINE, _GAP = 64, 15, 10
_CHARACTERS = 92
"""Of the small type in a line of a box."""
_STYLE = """
  text { font: 12px "DejaVu Sans", Verdana, sans-serif; fill: #1c2733 }
  .title { font-size: 17px; font-weight: bold } .name { font-size: 14px; font-weight: bold }
  .small { font-size: 10.5px; fill: #44525f }
  .purpose { font-size: 10.5px; font-weight: normal; fill: #1d4f80 } .floor { font-size: 11px; fill: #6b7782 }
  .box { fill: #eef4fa; stroke: #7d98b3 } .band { fill: #fafafa } .other { fill: #ffffff }
  .row { stroke: #c8d2dc; fill: none } .lane { stroke: #4d7298; stroke-width: 1.4; fill: none }
  .dot { fill: #ffffff; stroke: #4d7298 } .count { font-size: 9.5px; text-anchor: middle }
"""


def draw(title: str, floors: Sequence[Sequence[Box]], arrows: Mapping[tuple[str, str], int]) -> str:
    """The picture; the bytes depend on the arguments alone. Arrows (from, to) point to lower floors."""
    boxes = [box for floor in floors for box in floor]
    tops, bottom = _tops(floors)
    place = {name: row for row, (name, _, _) in enumerate(boxes)}
    width = 2 * _MARGIN + _FLOOR_WIDTH + _BOX_WIDTH + _LANE * (len(boxes) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom}" viewBox="0 0 {width} {bottom}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="other" width="{width}" height="{bottom}"/>',
        f'<text class="title" x="{_MARGIN}" y="{_MARGIN + 14}">{escape(title)}</text>',
        f'<text class="small" x="{_MARGIN}" y="{_MARGIN + 34}">A number: so many imports, by the box in whose row it '
        "stands, of the box that the arrow below it leads to. Every arrow leads down.</text>",
        *_bands(floors, tops, width=width),
        *(part for row, box in enumerate(boxes) for part in _box(box, top=tops[row])),
        *_lines(place, tops, arrows),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _wrapped(box: Box) -> tuple[list[str], list[str]]:
    """The sentence, which begins beside the name, and the words."""
    name, purpose, words = box
    beside = " " * (2 * len(name))
    sentence = textwrap.wrap(purpose, _CHARACTERS, initial_indent=beside)
    return sentence, textwrap.wrap(", ".join(words), _CHARACTERS, break_long_words=False, break_on_hyphens=False)


def _height(box: Box) -> int:
    return max(2, sum(map(len, _wrapped(box)))) * _LINE + 12


def _tops(floors: Sequence[Sequence[Box]]) -> tuple[list[int], int]:
    tops, y = [], _TITLE_HEIGHT
    for floor in floors:
        for box in floor:
            tops.append(y + _GAP)
            y += _height(box) + _GAP
        y += _GAP
    return tops, y + _MARGIN


def _bands(floors: Sequence[Sequence[Box]], tops: Sequence[int], *, width: int) -> list[str]:
    parts, row = [], 0
    for index, floor in enumerate(floors):
        top = tops[row] - _GAP
        height = tops[row + len(floor) - 1] + _height(floor[-1]) + _GAP - top
        number = len(floors) - index
        parts.append(f'<rect class="{"band" if index % 2 else "other"}" y="{top}" width="{width}" height="{height}"/>')
        parts.append(f'<text class="floor" x="{_MARGIN}" y="{top + height // 2 + 4}">floor {number}</text>')
        row += len(floor)
    return parts


def _box(box: Box, *, top: int) -> list[str]:
    name, (sentence, words) = box[0], _wrapped(box)
    left = _MARGIN + _FLOOR_WIDTH
    lines = [*(("purpose", line) for line in sentence[1:]), *(("small", line) for line in words)]
    beside = f'<tspan class="purpose" dx="10">{escape(sentence[0].strip())}</tspan>' if sentence else ""
    return [
        f'<rect class="box" x="{left}" y="{top}" width="{_BOX_WIDTH}" height="{_height(box)}" rx="4"/>',
        f'<text class="name" x="{left + 9}" y="{top + 18}">{escape(name)}{beside}</text>',
        *(
            f'<text class="{kind}" x="{left + 9}" y="{top + 34 + number * _LINE}">{escape(line)}</text>'
            for number, (kind, line) in enumerate(lines)
        ),
    ]


def _lines(place: Mapping[str, int], tops: Sequence[int], arrows: Mapping[tuple[str, str], int]) -> list[str]:
    right = _MARGIN + _FLOOR_WIDTH + _BOX_WIDTH

    def lane(row: int) -> int:
        return right + _LANE * (row + 1)

    rows, lanes, counts = [], [], []
    for name, row in place.items():
        targets = [place[to] for source, to in arrows if source == name]
        if targets:
            rows.append(f'<path class="row" d="M{right} {tops[row] + 12}H{lane(max(targets))}"/>')
        sources = [place[source] for source, to in arrows if to == name]
        if sources:
            end, x = tops[row] + 30, lane(row)
            lanes.append(f'<path class="lane" d="M{x} {tops[min(sources)] + 12}V{end}H{right + 2}"/>')
            lanes.append(f'<path class="lane" d="M{right + 8} {end - 4}L{right + 1} {end}L{right + 8} {end + 4}"/>')
    for (source, to), count in arrows.items():
        x, y = lane(place[to]), tops[place[source]] + 12
        counts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="9"/>')
        counts.append(f'<text class="count" x="{x}" y="{y + 3.5}">{count}</text>')
    return [*rows, *lanes, *counts]
