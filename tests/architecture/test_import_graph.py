"""The pictures of docs/: the packages of the design on few floors, and no circle."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.architecture.import_graph import Circle, House, heights, house, path_of, picture
from tests.architecture.staircase import draw

MOST_FLOORS = 12
ROOMS = {
    "serving": "app settings api auth intake queue segmentation inference models storage protocol review shadow "
    "observability parsing process web",
    "training": "stages params recipe profiles ranges command run_stage progress data phantom learning quality "
    "evaluation export registry tracking stage_files",
}
"""The packages, and the modules beside them. A new one is a decision, and stands in docs/architecture.md."""
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module", params=["serving", "training"])
def drawn(request: pytest.FixtureRequest) -> House:
    return house(request.param)


def words(svg: str) -> list[str]:
    """Every text of a picture."""
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - ours


def test_a_room_stands_one_floor_above_the_highest_that_it_imports() -> None:
    """a imports b and c, b imports c: three floors, whatever stands beside them."""
    imports = {("a", "b"), ("a", "c"), ("b", "c")}
    assert heights({"a", "b", "c", "alone"}, imports) == {"c": 1, "alone": 1, "b": 2, "a": 3}


def test_a_circle_is_named() -> None:
    """Rooms that import each other have no floor; the one below them does."""
    with pytest.raises(Circle, match=r"^a, b import each other"):
        heights({"a", "b", "c"}, {("a", "b"), ("b", "a"), ("a", "c")})


def test_there_are_few_floors_and_the_picture_says_how_many(drawn: House) -> None:
    """At most twelve; their number stands in the title, and each floor has its own."""
    floors = len(drawn.floors)
    assert 2 < floors <= MOST_FLOORS
    shown = words(picture(drawn))
    assert re.match(rf"{drawn.name}: \d+ packages and modules on {floors} floors, \d+ arrows, no circle$", shown[0])
    assert {text for text in shown if text.startswith("floor ")} == {f"floor {n}" for n in range(1, floors + 1)}


def test_the_rooms_are_those_that_were_decided_on(drawn: House) -> None:
    """No package comes to be in passing, and no module beside the packages."""
    assert {room.name for floor in drawn.floors for room in floor} == set(ROOMS[drawn.name].split())


def test_the_picture_in_the_docs_is_of_these_imports(drawn: House) -> None:
    """An import that came or went is drawn again."""
    assert path_of(drawn.name).read_text(encoding="utf-8") == picture(drawn), "run `make graph`"


def test_every_room_and_module_is_in_the_picture(drawn: House) -> None:
    """By name, each once as a box."""
    text = " ".join(words(picture(drawn)))
    for floor in drawn.floors:
        for room in floor:
            assert room.name in text
            assert all(module in text for module in room.modules)


def test_arrows_lead_down(drawn: House) -> None:
    """No room imports one of its own floor or of one above."""
    height = {room.name: -number for number, floor in enumerate(drawn.floors) for room in floor}
    assert drawn.imports
    assert all(height[above] > height[below] for above, below in drawn.imports)


def test_a_number_stands_where_a_row_crosses_a_line() -> None:
    """Two boxes, one arrow of seven imports: one line, one arrowhead, one number; the same bytes again."""
    floors = [[("top", "It decides.", ("first", "second"))], [("below", "", ())]]
    svg = draw("Two", floors, {("top", "below"): 7})
    assert svg == draw("Two", floors, {("top", "below"): 7})
    assert words(svg) == ["Two", words(svg)[1], "floor 2", "floor 1", "topIt decides.", "first, second", "below", "7"]
    tree = ElementTree.fromstring(svg)  # noqa: S314 - ours
    assert len(tree.findall(f".//{SVG}circle")) == 1
    assert [path.get("class") for path in tree.iter(f"{SVG}path")] == ["row", "lane", "lane"]
