"""Wording: numbers, times and states as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from serving.api.promotion_schemas import GateRowResponse
from serving.api.schemas import ScanResponse

_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60))

NOTHING: Final = "\u2013"
"""A dash, where there is nothing to say."""

STATES: Final[Mapping[str, str]] = {
    "queued": "waits",
    "running": "under way",
    "succeeded": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""Of a scan, in words."""


WARNINGS: Final[Mapping[str, str]] = {
    "spacing": "unusual voxel size",
    "shear": "slanted axes",
    "grey_range": "unusual grey values",
    "grey_distribution": "unusual contrast",
    "organ_sizes": "unusual organ sizes",
    "organ_places": "unusual places of organs",
    "confidence": "the model is unsure",
    "quality": "bad quality",
}
"""Codes of warnings in words."""

_ADVICE: Final = (
    ("damaged", "The stored file is damaged: delete the scan and send its file again."),
    (
        "memory",
        "The server had too little memory: try again when less is under way, or ask for RICEFISH_TILE to be set.",
    ),
    ("model", "The model could not be used: whoever runs the server finds out why in its log."),
)
_ADVICE_ELSE: Final = (
    "Try it again: it goes on at the slice where it stopped. If it fails once more, give whoever runs the server this "
    "message and the scan's id."
)


def advice(scan: ScanResponse) -> str:
    """What to do about a scan that failed."""
    why = (scan.error or "").lower()
    return next((text for word, text in _ADVICE if word in why), _ADVICE_ELSE)


def duration(seconds: float | None) -> str:
    """Such as `3 min`, or `1 h 20 min`; a dash where nobody knows."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    left = round(seconds)
    for number, (unit, size) in enumerate(_UNITS):
        if left >= size:
            smaller = _UNITS[number + 1] if number + 1 < len(_UNITS) else ("s", 1)
            rest = left % size // smaller[1]
            return f"{left // size} {unit}" + (f" {rest} {smaller[0]}" if rest else "")
    return f"{left} s"


def number(value: float | None, digits: int = 3) -> str:
    """With so many significant digits, never in powers of ten; a dash where there is none."""
    if value is None:
        return NOTHING
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace(",", "\u202f")


def dice(value: float | None) -> str:
    """To four decimals, as the gate's sentences have it; a dash where there is none."""
    return NOTHING if value is None else f"{value:.4f}"


def change(value: float | None) -> str:
    """Of Dice, with its sign; a dash where there is none."""
    return NOTHING if value is None else f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def allowed(row: GateRowResponse, *, first: bool) -> str:
    """What the gate asks of a figure: a least value and, of all but the `first` champion, no greater loss."""
    least = [f"{row.least:g} or more"] if row.least else []
    loss = [f"\N{MINUS SIGN}{row.allowed_loss:g} at worst" if row.allowed_loss else "no loss"]
    return ", ".join(least if first else least + loss) or NOTHING


def percent(share: float | None) -> str:
    """0..1 as a whole number of percent."""
    return NOTHING if share is None else f"{share:.0%}"


def moment(at: datetime | None) -> str:
    """To the minute, in UTC."""
    return NOTHING if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def colour(rgb: tuple[int, int, int]) -> str:
    """As HTML writes it."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "duration": duration,
    "number": number,
    "allowed": allowed,
    "change": change,
    "dice": dice,
    "percent": percent,
    "moment": moment,
    "colour": colour,
    "advice": advice,
    "warning": lambda code: WARNINGS.get(code, code.replace("_", " ")),
    "state": STATES.__getitem__,
}
"""What templates call them by."""
