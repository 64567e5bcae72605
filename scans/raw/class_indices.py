"""Class indices: what labels hold in whatever type a program saved them in, and which of their values are no class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.organs import NOT_LABELLED

FROM_WHOLE = 1e-3
"""By which a label in floating point may differ from a whole number: what resampling and rescaling leave."""
NAMED_VALUES = 10
"""Of label values that are no class, about this many are named."""


def class_indices(stored: NDArray[Any], *, classes: int, not_labelled: bool) -> tuple[NDArray[Any], list[float]]:
    """Labels in their own type, whole and from 0 to `classes` - 1, and some of the values that are no class.

    In the place of those is 0. NOT_LABELLED is let through where labels may be `not_labelled`.
    """
    whole = np.rint(stored) if stored.dtype.kind == "f" else stored
    wrong = (whole < 0) | (whole >= classes)
    if not_labelled:
        wrong &= whole != NOT_LABELLED
    if stored.dtype.kind == "f":
        wrong |= abs(stored - whole) > FROM_WHOLE
    if not wrong.any():
        return whole, []
    foreign = [_shown(value) for value in np.unique(stored[wrong])[:NAMED_VALUES]]
    return np.where(wrong, stored.dtype.type(0), whole), foreign


def as_text(values: list[float] | tuple[float, ...]) -> str:
    """Values that are no class, as messages name them: "7, 0.5"."""
    return ", ".join(f"{int(value) if value.is_integer() else value!r}" for value in values)


def _shown(value: np.generic) -> float:
    """The value with the digits that tell it from its neighbours in its own type: 0.1 for the float32 nearest to it."""
    return float(str(value))
