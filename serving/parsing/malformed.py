"""Malformed: how what cannot be understood, or is too large, is refused in the words of the room that asks."""

from __future__ import annotations

from collections.abc import Callable

Refusal = Callable[[str], Exception]
"""Makes what is raised of a message that names the part at fault and says what would be right."""

_LONGEST_SHOWN = 100


class TooLarge(Exception):
    """More was sent, or asked for, than is taken of its kind; the message states the limit."""


def shown(value: object) -> str:
    """What was sent as an answer may quote it: in quotes and in ASCII, its middle left out where it is long."""
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN // 2]}...{text[-_LONGEST_SHOWN // 4 :]}"
