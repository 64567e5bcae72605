"""Reasons: an error in a line, for messages, log fields and health reports."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """What an error says, on one line; of a database's error without the statement and its parameters."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def reason(error: Exception) -> str:
    """The same after the error's kind: `OperationalError: the connection is lost`."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
