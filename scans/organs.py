"""OrganMap: which class index is which organ, and in what colour it is drawn."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

Colour = tuple[int, int, int]

BACKGROUND = 0
NOT_LABELLED = 255
"""What labels hold where nobody has looked, in a data set whose organs.yaml says so. It is no class: such voxels teach
nothing and count for nobody, and no segmentation holds it."""
NOT_LABELLED_NAME = "not_labelled"
MAX_CLASSES = 255
"""A segmentation holds one byte per voxel, whose last value is NOT_LABELLED."""


class OrganMapError(ValueError):
    """An organ map that cannot be used; the message says where and what would be right."""


@dataclass(frozen=True)
class Organ:
    """One foreground class."""

    index: int
    """Class index in labels and segmentations, from 1."""
    name: str
    """Lower-case name; organs that come in pairs are left_NAME and right_NAME."""
    colour: Colour
    """Red, green, blue, 0-255."""


@dataclass(frozen=True)
class OrganMap:
    """Organs by class index, 1..K without gaps; 0 is background."""

    organs: tuple[Organ, ...]
    not_labelled: bool = field(default=False, compare=False)
    """Labels of this data set may hold NOT_LABELLED. Of models and segmentations it says nothing, and `to_mapping` has
    no entry of it."""

    def __post_init__(self) -> None:
        indices = [organ.index for organ in self.organs]
        if indices != list(range(1, len(indices) + 1)):
            raise OrganMapError(f"organ indices are {indices}; they must be 1, 2, 3 ... without gaps (0 is background)")
        if not indices or len(indices) >= MAX_CLASSES:
            raise OrganMapError(f"{len(indices)} organs; there must be from 1 to {MAX_CLASSES - 1}")
        names = [organ.name for organ in self.organs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OrganMapError(f"two organs are named {', '.join(twice)}; each name may stand once")

    @classmethod
    def from_mapping(cls, mapping: Mapping[Any, Any]) -> OrganMap:
        """From {index: name} or {index: {name, colour: [r, g, b]}}; index 0, if given, is background and is dropped.

        `{255: not_labelled}` says that labels may hold NOT_LABELLED.
        Raises OrganMapError that names the entry at fault.
        """
        entries: dict[int, tuple[str, Any]] = {}
        for key, value in mapping.items():
            index, name, colour = _entry(key, value)
            if index in entries:
                raise OrganMapError(f"two entries have the index {index}; each may stand once")
            entries[index] = (name, colour)
        entries.pop(BACKGROUND, None)
        not_labelled = _pop_not_labelled(entries)
        count = max(len(entries), 1)
        return cls(
            tuple(
                Organ(index, name, _colour(name, colour, fallback=_distinct_colour(index - 1, count)))
                for index, (name, colour) in sorted(entries.items())
            ),
            not_labelled,
        )

    @classmethod
    def from_yaml(cls, path: Path) -> OrganMap:
        """From an organs.yaml. Raises OrganMapError that names the file."""
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), _EachKeyOnce)  # noqa: S506 - a SafeLoader
        except FileNotFoundError:
            raise OrganMapError(f"{path} does not exist; a data set needs an organs.yaml, `1: heart` a line") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            why = " ".join(str(error).split())
            raise OrganMapError(f"{path} is not YAML in UTF-8: {why}; expected lines such as `1: heart`") from error
        if not isinstance(content, Mapping):
            raise OrganMapError(f"{path} holds {type(content).__name__}; expected lines such as `1: heart`")
        try:
            return cls.from_mapping(content)
        except OrganMapError as error:
            raise OrganMapError(f"{path}: {error}") from None

    def to_mapping(self) -> dict[str, Any]:
        """What `from_mapping` reads back, with keys that JSON can hold."""
        return {str(o.index): {"name": o.name, "colour": list(o.colour)} for o in self.organs}

    def __len__(self) -> int:
        return len(self.organs)

    @property
    def classes(self) -> int:
        """Organs and background."""
        return len(self.organs) + 1

    @property
    def names(self) -> tuple[str, ...]:
        """Organ names in the order of their indices, background left out."""
        return tuple(organ.name for organ in self.organs)

    @property
    def palette(self) -> NDArray[np.uint8]:
        """uint8 (classes, 3): the colour of each class index; background is black."""
        return np.array([(0, 0, 0), *(organ.colour for organ in self.organs)], dtype=np.uint8)

    @property
    def mirrored(self) -> NDArray[np.uint8]:
        """uint8 (classes,): the class index that each class has in a mirror image.

        A reflection, along whichever axis, makes a left organ a right one: left_X and right_X (or X_left, X_right)
        trade places, every other organ keeps its own.
        """
        index_of = {organ.name: organ.index for organ in self.organs}
        lookup = np.arange(self.classes, dtype=np.uint8)
        for organ in self.organs:
            lookup[organ.index] = index_of.get(_other_side(organ.name), organ.index)
        return lookup


class _EachKeyOnce(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: else the first of two organs would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _entry(key: Any, value: Any) -> tuple[int, str, Any]:
    """Class index, name and what was given as colour."""
    fields = value if isinstance(value, Mapping) else {"name": value}
    unknown = set(fields) - {"name", "colour"}
    if unknown:
        raise OrganMapError(f"entry {key!r}: {', '.join(map(repr, unknown))} is unknown; there are name and colour")
    index = int(key) if isinstance(key, str) and key.isdecimal() else key
    name = fields.get("name")
    if isinstance(index, bool) or not isinstance(index, int) or not isinstance(name, str) or not name.strip():
        raise OrganMapError(f"entry {key!r}: {value!r}; expected a class index and a name, such as `1: heart`")
    return index, name.strip(), fields.get("colour")


def _pop_not_labelled(entries: dict[int, tuple[str, Any]]) -> bool:
    """Takes the entry of voxels that nobody has looked at away; True where there was one."""
    name, _ = entries.pop(NOT_LABELLED, (None, None))
    if name not in (None, NOT_LABELLED_NAME):
        raise OrganMapError(
            f"entry {NOT_LABELLED} is {name!r}; it is no organ's: `{NOT_LABELLED}: {NOT_LABELLED_NAME}` says that "
            "labels hold it where nobody has looked"
        )
    return name is not None


def _other_side(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    return "_".join(swap.get(word, word) for word in name.split("_"))


def _colour(name: str, colour: Any, *, fallback: Colour) -> Colour:
    if colour is None:
        return fallback
    if not (isinstance(colour, list | tuple) and len(colour) == 3 and all(isinstance(v, int) for v in colour)):
        raise OrganMapError(f"colour of {name} is {colour!r}; expected [red, green, blue], each 0 to 255")
    red, green, blue = colour
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise OrganMapError(f"colour of {name} is {colour!r}; each of red, green, blue must be 0 to 255")
    return (red, green, blue)


def _distinct_colour(position: int, count: int) -> Colour:
    hue = (position * 0.618033988749895) % 1.0  # golden ratio: neighbours in index are far apart in hue
    value = 1.0 if position % 2 == 0 or count < 7 else 0.75
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return (round(red * 255), round(green * 255), round(blue * 255))
