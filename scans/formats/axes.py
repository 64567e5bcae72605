"""Axes of arrays that may have more than three: which are z, y and x where the others are of size 1."""

from __future__ import annotations


def leading_axes(sizes: tuple[int, ...]) -> int | None:
    """How many axes of size 1 stand before z, y, x; others may follow. None where three axes are not all there is."""
    trailing = 0
    while len(sizes) - trailing > 3 and sizes[-1 - trailing] == 1:
        trailing += 1
    leading = len(sizes) - trailing - 3
    return leading if leading >= 0 and set(sizes[:leading]) <= {1} else None
