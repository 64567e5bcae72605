"""The rooms of serving and training and who imports whom, as pictures: `make graph` draws them into docs/."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grimp

from tests.architecture.staircase import draw

ROOT = Path(__file__).resolve().parents[2]
DRAWN = ("serving", "training")


@dataclass(frozen=True)
class Room:
    """A package, or a module that stands beside the packages."""

    name: str
    purpose: str
    """The first sentence of its docstring."""
    modules: tuple[str, ...]
    """Below it, as `runtime/session`; none for a module."""


@dataclass(frozen=True)
class House:
    """One package of the distribution with its rooms."""

    name: str
    floors: tuple[tuple[Room, ...], ...]
    """From the top: a room imports only rooms of floors below its own."""
    imports: Mapping[tuple[str, str], int]
    """(importing room, imported room): how many imports of modules there are."""


class Circle(ValueError):
    """Rooms that import each other, so that none is above the other."""


def house(name: str) -> House:
    """The rooms of a package of this repository, found without running it. Raises Circle."""
    graph = grimp.build_graph(name, exclude_type_checking_imports=True, cache_dir=None)
    imports: Counter[tuple[str, str]] = Counter()
    for module in graph.modules - {name}:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = _room_of(module), _room_of(imported)
            if imported != name and pair[0] != pair[1]:
                imports[pair] += 1
    rooms = {
        child.partition(".")[2]: _room(child, graph.find_descendants(child)) for child in graph.find_children(name)
    }
    height = heights(set(rooms), set(imports))
    floors = (sorted(room for room in rooms if height[room] == floor) for floor in range(max(height.values()), 0, -1))
    return House(name, tuple(tuple(rooms[room] for room in floor) for floor in floors), dict(sorted(imports.items())))


def heights(rooms: set[str], imports: set[tuple[str, str]]) -> dict[str, int]:
    """The floor of each room: 1 for one that imports no other, else one above the highest that it imports."""
    height: dict[str, int] = {}
    while waiting := rooms - set(height):
        ready = {room for room in waiting if all(below in height for above, below in imports if above == room)}
        if not ready:
            raise Circle(f"{', '.join(sorted(waiting))} import each other")
        for room in ready:
            height[room] = 1 + max((height[below] for above, below in imports if above == room), default=0)
    return height


def picture(drawn: House) -> str:
    """The house as SVG, the same text for the same imports."""
    count = sum(len(floor) for floor in drawn.floors)
    title = f"{drawn.name}: {count} packages and modules on {len(drawn.floors)} floors, "
    title += f"{len(drawn.imports)} arrows, no circle"
    shown = {room.name: room.name if room.modules else f"{room.name}.py" for floor in drawn.floors for room in floor}
    floors = [[(shown[room.name], room.purpose, room.modules) for room in floor] for floor in drawn.floors]
    return draw(title, floors, {(shown[above], shown[below]): count for (above, below), count in drawn.imports.items()})


def path_of(name: str) -> Path:
    """Where the picture of a package lies."""
    return ROOT / "docs" / f"{name}-imports.svg"


def _room_of(module: str) -> str:
    return module.split(".")[1]


def _room(module: str, descendants: set[str]) -> Room:
    packages = {below.rpartition(".")[0] for below in descendants} - {module}
    below = sorted(name.removeprefix(f"{module}.").replace(".", "/") for name in descendants - packages)
    return Room(module.partition(".")[2], _purpose(module), tuple(below))


def _purpose(module: str) -> str:
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    sentence = " ".join(text.replace("`", "").partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
    title, colon, rest = sentence.partition(": ")
    return rest if colon and " " not in title else sentence


def main() -> None:
    """Draws both houses."""
    for name in DRAWN:
        path_of(name).write_text(picture(house(name)), encoding="utf-8")
        sys.stdout.write(f"{path_of(name).relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
