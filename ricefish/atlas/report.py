"""atlas.html: one file that shows an atlas, and asks nobody for anything."""

from __future__ import annotations

import base64
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from ricefish.atlas import strip_plots
from ricefish.atlas.findings import FishFinding, of_all
from ricefish.atlas.gathering import Gathered
from ricefish.atlas.outliers import FEWEST_FISH, LIMIT, Outlier, Outliers
from ricefish.atlas.records import MEASURES, FishPictures, FishRecord, Measure
from ricefish.atlas.strip_plots import StripPlot, strip_plot
from ricefish.atlas.summary import GroupSummary, group_names, organ_names

_PAGE, _STYLE = "atlas.html.jinja", "atlas.css"
_FIRST_OPEN = 1
"""Of the measures' plots, those that are open from the beginning."""


@dataclass(frozen=True)
class PlottedMeasure:
    """The plots of one measure, an organ each."""

    measure: Measure
    plots: tuple[StripPlot, ...]


@dataclass(frozen=True)
class DrawnPicture:
    """A picture in the page, as wide as it is in mm beside the longest fish."""

    address: str
    """data: with the PNG itself."""
    seen: str
    width_percent: float


@dataclass(frozen=True)
class FishCard:
    """One fish, as the page shows it."""

    fish: FishRecord
    pictures: tuple[DrawnPicture, ...]
    remarks: tuple[str, ...]
    """Its group where there are several, and what is to be known of it."""


def render(
    gathered: Gathered,
    summaries: Sequence[GroupSummary],
    judged: Outliers,
    found: Sequence[FishFinding],
    *,
    cut_off: bool,
) -> str:
    """The page, HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - the extra `atlas` brings it

    environment = Environment(
        loader=PackageLoader("ricefish.atlas", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = resources.files("ricefish.atlas").joinpath("page", _STYLE).read_text(encoding="utf-8")
    content = {
        **_content(gathered.fish, summaries, judged.found),
        "cards": _cards(gathered.fish, {one.fish.name for one in found if one.clear}),
        "style": style,
        "failed": gathered.failed,
        "of_all": of_all(gathered.fish),
        "judged": judged,
        "clear": [one for one in found if one.clear],
        "weaker": [one for one in found if one.others],
        "cut_off": cut_off,
        "limit": LIMIT,
        "fewest": FEWEST_FISH,
    }
    return environment.get_template(_PAGE).render(content)


def _content(
    fish: Sequence[FishRecord], summaries: Sequence[GroupSummary], outliers: Sequence[Outlier]
) -> dict[str, object]:
    """What the page shows of the fish themselves."""
    organs = organ_names(fish)
    longest = max(one.pictures.length_mm for one in fish)
    return {
        "fish": fish,
        "groups": group_names(fish),
        "organs": [(name, _colour(fish, name)) for name in organs],
        "plotted": _plotted(fish, summaries, outliers),
        "open": _FIRST_OPEN,
        "bar": _scale_bar(longest),
        "volumes": _volumes(summaries, organs),
        "said": strip_plots.said,
        "size": strip_plots,
    }


def _plotted(
    fish: Sequence[FishRecord], summaries: Sequence[GroupSummary], outliers: Sequence[Outlier]
) -> list[PlottedMeasure]:
    flagged = {(outlier.organ, outlier.measure.name, outlier.fish) for outlier in outliers}
    found = []
    for measure in MEASURES:
        plots = []
        for organ in organ_names(fish):
            own = [one for one in summaries if one.organ == organ and one.measure == measure]
            marks = {one.name: (organ, measure.name, one.name) in flagged for one in fish}
            plot = strip_plot(fish, own, marks, colour=_colour(fish, organ))
            plots += [plot] if plot else []
        if plots:
            found.append(PlottedMeasure(measure, tuple(plots)))
    return found


def _volumes(summaries: Sequence[GroupSummary], organs: Sequence[str]) -> list[tuple[str, list[GroupSummary]]]:
    """For each organ the summaries of its volume, a group each."""
    by_organ: Mapping[str, list[GroupSummary]] = {name: [] for name in organs}
    for one in summaries:
        if one.measure is MEASURES[0]:
            by_organ[one.organ].append(one)
    return list(by_organ.items())


def _colour(fish: Sequence[FishRecord], organ: str) -> str:
    """As its first fish has it."""
    red, green, blue = next(one.colours[organ] for one in fish if organ in one.colours)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _cards(fish: Sequence[FishRecord], out_of_line: Container[str]) -> list[FishCard]:
    longest = max(one.pictures.length_mm for one in fish)
    several = len(group_names(fish)) > 1
    cards = []
    for one in fish:
        said = ((several, one.group), (one.name in out_of_line, "out of line"), (one.touches_border, "cut off"))
        cards.append(FishCard(one, _drawn(one.pictures, longest), tuple(words for true, words in said if true)))
    return cards


def _drawn(pictures: FishPictures, longest_mm: float) -> tuple[DrawnPicture, ...]:
    shown = (
        (pictures.side, "from its left", pictures.length_mm),
        (pictures.top, "from its back", pictures.length_mm),
        (pictures.front, "from its head", pictures.width_mm),
    )
    return tuple(
        DrawnPicture(f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}", seen, 100 * width / longest_mm)
        for png, seen, width in shown
    )


def _scale_bar(longest_mm: float) -> tuple[str, float]:
    """What stands at it, and its share of the longest fish in per cent."""
    length = strip_plots.round_step(longest_mm / 8)
    return f"{length:g} mm", 100 * length / longest_mm
