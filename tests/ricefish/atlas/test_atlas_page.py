"""atlas.html: it asks nobody for anything, shows every fish, and takes names for nothing but names."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from ricefish.atlas.findings import findings
from ricefish.atlas.gathering import FailedScan, Gathered
from ricefish.atlas.outliers import find_outliers
from ricefish.atlas.records import FishRecord
from ricefish.atlas.report import render
from ricefish.atlas.strip_plots import strip_plot
from ricefish.atlas.summary import summarise
from tests.ricefish.atlas.made_fish import HEART, fish, heart

EVIL = "<script>alert(1)</script>&\"'"
VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """Every element with its attributes, and whether each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def page(all_fish: list[FishRecord], *failed: FailedScan) -> str:
    judged = find_outliers(all_fish)
    gathered = Gathered(tuple(all_fish), failed)
    return render(gathered, summarise(all_fish), judged, findings(all_fish, judged), cut_off=False)


def eight(**changed: object) -> list[FishRecord]:
    groups = ["wild"] * 4 + ["mutant"] * 4
    volumes = [2.0, 2.1, 1.9, 2.2, 1.8, 2.05, 1.95, 40.0]
    return [fish(f"f{n}", heart(v), group=g, **changed) for n, (v, g) in enumerate(zip(volumes, groups, strict=True))]


def test_the_page_asks_nobody_for_anything() -> None:
    """No address of another place in any attribute or style; no script, no link; pictures are in the page itself."""
    text = page(eight())
    found = Page(text)
    assert found.open == []
    assert {"script", "link", "iframe", "object", "base", "form"}.isdisjoint(name for name, _ in found.elements)
    assert found.count("style") == 1
    addresses = [
        value or ""
        for _, attributes in found.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster", "xlink:href", "data")
    ]
    assert addresses and all(value.startswith(("data:image/png;base64,", "#")) for value in addresses)
    assert not re.search(r"https?:|@import|url\(|//[a-z]", re.sub(r"base64,[^\"]*", "", text))


def test_every_fish_is_a_point_in_every_plot_and_has_its_pictures() -> None:
    """Eight fish, one organ, eleven measures that are known: 88 points, each named; three pictures of each fish."""
    found = Page(page(eight()))
    assert found.count("circle") == 8 * 11
    assert found.count("img") == 8 * 3
    assert {attributes.get("id") for name, attributes in found.elements if name == "article"} == {
        f"fish-f{number}" for number in range(8)
    }


def test_names_are_text_wherever_they_stand() -> None:
    """Of fish, groups, organs, and what was wrong with a scan: from files, so from anybody."""
    odd = [
        fish(f"{EVIL}{n}", heart(2 + n, organ=EVIL), group=f"{EVIL}{n % 2}", colours={EVIL: (1, 2, 3)})
        for n in range(6)
    ]
    text = page(odd, FailedScan(EVIL, EVIL, EVIL))
    assert Page(text).open == []
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_what_is_to_be_looked_at_stands_on_top() -> None:
    """A fish far out of line, and a scan that failed, before any table; of four fish it is said that they are few."""
    text = page(eight(), FailedScan("bad", "/data/bad.nii", "damaged"))
    top = text.partition("Volumes by group")[0]
    assert "1 of 9 scans could not be measured" in top and "damaged" in top
    assert ">f7</a>, mutant" in top and "volume 40 mm³, above the median of all fish" in top
    assert "4 fish are too few to say" in page(eight()[:4])
    assert "No fish is farther out of line" in page([fish(f"f{n}", heart(2 + n / 10)) for n in range(6)])


def test_a_point_that_is_cut_off_is_hollow_and_one_out_of_line_is_ringed() -> None:
    """By their classes, whose looks the style sheet has."""
    cut = [*eight(), fish("cut", heart(1.0, touches_border=True), group="wild")]
    text = page(cut)
    assert re.search(r'class="cut"><title>cut: 1 mm³', text)
    assert re.search(r'class="odd"><title>f7: 40 mm³', text)
    assert "1 cut off" in text


def test_places_of_points_by_hand() -> None:
    """Values 0 and 10 on an axis of 330 pixels from 112, with 6 % of room at each end: at 112 + 330 x 0.6 / 11.2 ..."""
    two = [fish("a", heart(0.0)), fish("b", heart(10.0))]
    own = [one for one in summarise(two) if one.measure.name == "volume_mm3"]
    plot = strip_plot(two, own, {}, colour="#000000")
    assert plot is not None
    low, high = (point.x for point in plot.rows[0].points)
    # the interval reaches from 5 - 63.5 to 5 + 63.5, and is shown as far as half the range beyond the points
    scale = 330 / (20 * 1.12)
    assert (low, high) == (round(112 + (5 + 1.2) * scale, 1), round(112 + (15 + 1.2) * scale, 1))
    assert [text for _, text in plot.ticks] == ["-5", "0", "5", "10", "15"]
    assert plot.rows[0].said == "5 ± 7.07 mm³ (n 2)"


def test_an_organ_of_which_nothing_is_known_has_no_plot() -> None:
    """Expected Dice without a server; and fish that are all the same have an axis all the same."""
    same = [fish("a", HEART), fish("b", HEART)]
    by_measure = {one.measure.name: one for one in summarise(same)}
    assert strip_plot(same, [by_measure["expected_dice"]], {}, colour="#000000") is None
    plot = strip_plot(same, [by_measure["volume_mm3"]], {}, colour="#000000")
    assert plot is not None and len({point.x for point in plot.rows[0].points}) == 1
