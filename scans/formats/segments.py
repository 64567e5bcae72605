"""Segments of 3D Slicer (.seg.nrrd): which numbers of which layer are which organ, by the names that people gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats.errors import FormatError
from scans.formats.sources import CheckedVoxels
from scans.geometry import Triple
from scans.organs import Organ, OrganMap

_PREFIX = "segment"
"""Of the fields of segment n, `segmentN_FIELD`, and of what Slicer calls a segment that nobody has named."""
_MOST_DIGITS = 4
_LONGEST_NAME = 80
"""Characters of a name that messages show."""
_MOST_VALUE = (1 << 16) - 1
MOST_LAYERS = 256
"""As many as there can be segments that all overlap."""
_NO_SEGMENT = -1
_NO_OVERLAP = (
    "segments that do not overlap; in Slicer's Segment Editor, Masking, set Modify other segments to Overwrite all"
)


@dataclass(frozen=True)
class Segment:
    """One segment, as the header describes it."""

    name: str
    value: int
    """Of its voxels, in its layer."""
    layer: int

    @property
    def shown(self) -> str:
        """How messages call it."""
        return f"the segment {self.name[:_LONGEST_NAME]!r} (label value {self.value})"

    @property
    def named(self) -> bool:
        """Whether somebody has given it a name."""
        plain = _plain(self.name)
        rest = plain.removeprefix(_PREFIX).strip("_")
        return bool(plain) and not (plain.startswith(_PREFIX) and (not rest or rest.isdecimal()))


def read_segments(path: Path, pairs: Mapping[str, str], *, layers: int) -> tuple[Segment, ...]:
    """The segments that `key:=value` lines of a header describe; none where the file is no segmentation.

    Raises FormatError for numbers that are none.
    """
    fields: dict[int, dict[str, str]] = {}
    for key, text in pairs.items():
        digits, _, field = key.removeprefix(_PREFIX).partition("_")
        if key.startswith(_PREFIX) and digits.isdecimal() and len(digits) <= _MOST_DIGITS:
            fields.setdefault(int(digits), {})[field] = text
    segments = []
    for number, (_, given) in enumerate(sorted(fields.items())):
        value = _whole(given.get("labelvalue", "1"))
        layer = _whole(given.get("layer", str(number if layers > 1 else 0)))
        if not value or layer is None:
            stated = f"the label value {given.get('labelvalue', '')[:20]!r} in layer {given.get('layer', '')[:20]!r}"
            accepted = f"whole numbers, the label value from 1 to {_MOST_VALUE}"
            raise FormatError(path, f"damaged: segment {number} has {stated}", accepted)
        segments.append(Segment(given.get("name", "").strip(), value, layer))
    return tuple(segments)


def _whole(text: str) -> int | None:
    """The number, where it is one from 0 to _MOST_VALUE."""
    number = int(text) if text.isdecimal() and len(text) <= len(str(_MOST_VALUE)) else None
    return number if number is not None and number <= _MOST_VALUE else None


def organs_of(
    path: Path, segments: Sequence[Segment], organs: OrganMap, *, by_name: bool = False
) -> dict[Segment, Organ]:
    """The organ of each segment. Names count; a segment without a name goes by its number.

    Raises FormatError where name and number mean different organs, unless names count `by_name`, and for names that are
    no organ's.
    """
    of_name = {_plain(organ.name): organ for organ in organs.organs}
    of_number = {organ.index: organ for organ in organs.organs}
    values = [segment.value for segment in segments]
    numbers_count = len(set(values)) == len(values)
    found, problems = {}, []
    for segment in segments:
        named = of_name.get(_plain(segment.name))
        numbered = of_number.get(segment.value) if numbers_count else None
        if named is not None and (by_name or numbered in (None, named)):
            found[segment] = named
        elif named is not None and numbered is not None:
            problems.append(f"{segment.shown} is {numbered.index}: {numbered.name} by its number and {_entry(named)}")
        elif not segment.named:
            if numbered is None:
                problems.append(f"{segment.shown} has neither the name of an organ nor a number of its own that is one")
            else:
                found[segment] = numbered
        else:
            also = f", and its number is {numbered.index}: {numbered.name}" if numbered else ""
            problems.append(f"{segment.shown} has a name that is no organ's{also}")
    if problems:
        known = ", ".join(f"{organ.index}: {organ.name}" for organ in organs.organs)
        raise FormatError(path, "; ".join(problems), f"names and numbers of organs.yaml ({known})")
    return found


def _entry(organ: Organ) -> str:
    return f"{organ.index}: {organ.name} by its name"


def _plain(name: str) -> str:
    """As names are compared: capitals, spaces, hyphens and underscores make no difference."""
    return "_".join(name.replace("-", " ").replace("_", " ").split()).casefold()


@dataclass(frozen=True)
class LayeredSource:
    """Class indices, uint8 (z, y, x), of layers whose voxels lie side by side along x."""

    path: Path
    source: CheckedVoxels
    """(z, y, x times layers), the layer fastest."""
    layers: int
    tables: NDArray[np.int16]
    """(layers, values): the class index of each value, -1 where it is no segment's."""
    names: tuple[str, ...]
    """Of the classes."""

    @classmethod
    def of(
        cls, path: Path, source: CheckedVoxels, *, layers: int, found: Mapping[Segment, Organ], organs: OrganMap
    ) -> LayeredSource:
        """Raises FormatError for voxels that are not whole numbers."""
        if source.dtype.kind not in "iu":
            raise FormatError(path, f"segments in voxels of {source.dtype}", "whole numbers")
        values = Counter(segment.value for segment in found)
        tables = np.full((layers, max(values) + 1), _NO_SEGMENT, dtype=np.int16)
        for segment, organ in found.items():
            if values[segment.value] == 1:  # also where its layer is stated wrongly, it can be no other
                tables[:, segment.value] = organ.index
        for segment, organ in found.items():
            if segment.layer < layers:
                tables[segment.layer, segment.value] = organ.index
        tables[:, 0] = 0
        return cls(path, source, layers, tables, ("background", *organs.names))

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        z, y, wide = self.source.shape
        return (z, y, wide // self.layers)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of class indices."""
        return np.dtype(np.uint8)

    @property
    def plain(self) -> bool:
        """As of the file."""
        return self.source.plain

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop). Raises FormatError for values of no segment, and where two organs overlap."""
        stored = self.source.read(start, stop).reshape(stop - start, self.shape[1], self.shape[2], self.layers)
        merged = np.zeros(stored.shape[:3], np.uint8)
        for layer, table in enumerate(self.tables):
            organ = self._organs(stored[..., layer], layer, table)
            both = (merged != 0) & (organ != 0) & (merged != organ)
            if both.any():
                z, y, x = (int(index[0]) for index in np.nonzero(both))
                one, other = self.names[merged[z, y, x]], self.names[organ[z, y, x]]
                found = f"{one} and {other} overlap, first at voxel {start + z}, {y}, {x} (z, y, x)"
                raise FormatError(self.path, found, _NO_OVERLAP)
            np.copyto(merged, organ, where=organ != 0)
        return merged

    def _organs(self, stored: NDArray[Any], layer: int, table: NDArray[np.int16]) -> NDArray[np.uint8]:
        known = (stored >= 0) & (stored < len(table))
        organ = np.where(known, table[np.where(known, stored, 0)], _NO_SEGMENT)
        if (organ == _NO_SEGMENT).any():
            value = stored[organ == _NO_SEGMENT][0]
            found = f"layer {layer} holds the value {value}, which is no segment's"
            raise FormatError(self.path, found, "the label values of the segments in the header")
        return organ.astype(np.uint8)
