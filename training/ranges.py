"""Ranges: what a parameter may be beyond its type, stated beside it: `alpha: Annotated[float, Range(0, 1)]`.

Every number of params.yaml has one, with both ends, so that a slip of the finger is refused before a stage begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Bound(Protocol):
    """What a value must keep to; as text, in words that follow "expected"."""

    def holds(self, value: Any) -> bool:
        """True for a value, of the right type, that keeps to it."""


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, both included unless `open_below` or `open_above`. NaN is in none."""

    least: float
    most: float
    open_below: bool = False
    """The least is itself outside."""
    open_above: bool = False
    """The most is itself outside."""

    def holds(self, value: float) -> bool:
        """True for a number inside."""
        above = self.least < value if self.open_below else self.least <= value
        return above and (value < self.most if self.open_above else value <= self.most)

    def __str__(self) -> str:
        lower = f"more than {self.least:.12g}" if self.open_below else f"at least {self.least:.12g}"
        upper = f"less than {self.most:.12g}" if self.open_above else f"at most {self.most:.12g}"
        return f"a number of {lower} and {upper}"


@dataclass(frozen=True)
class PlainName:
    """Text that may stand in an address, a file's name or a registry."""

    optional: bool = False
    """It may be left empty."""

    def holds(self, value: str) -> bool:
        """True for letters, digits, `.`, `_` and `-`, up to 100 of them."""
        return _NAME.fullmatch(value) is not None or (self.optional and not value)

    def __str__(self) -> str:
        or_nothing = ", or nothing" if self.optional else ""
        return f"a name of letters, digits, '.', '_' and '-', which begins with a letter or digit{or_nothing}"


Share = Annotated[float, Range(0, 1)]
"""A part of a whole, or a figure such as Dice."""
ProperShare = Annotated[float, Range(0, 1, open_below=True, open_above=True)]
"""Neither nothing nor all."""
Weight = Annotated[float, Range(0, 1000)]
Count = Annotated[int, Range(0, 10_000_000)]
"""How many; 0 has a meaning of its own."""
Number = Annotated[int, Range(1, 10_000_000)]
"""How many, of which there must be one."""
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""Of random numbers."""
Batch = Annotated[int, Range(1, 65_536)]
Side = Annotated[int, Range(8, 8192)]
"""Pixels or voxels."""
Name = Annotated[str, PlainName()]
OptionalName = Annotated[str, PlainName(optional=True)]
