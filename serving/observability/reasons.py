"""Reasons: an error in a line, for messages, log fields and health reports."""

from __future__ import annotations

import re

_PATH = re.compile(
    r"""(?<![\w/.~%)\]-])  # neither within a word, nor a scheme's second slash, nor relative
    (?:(?<=')/[^'/]+(?:/[^'/]+)+/?(?=') | (?<=")/[^"/]+(?:/[^"/]+)+/?(?=") | (?:/[^\s/'",;:()]+){2,}/?)""",
    re.VERBOSE,
)
"""A path from the root with two names and more: between quotes all of it, be there spaces or not."""
_CALLS = ("/v1/", "/v2/", "/health/", "/docs/")


def first_line(error: Exception) -> str:
    """What an error says, on one line; of a database's error without the statement and its parameters."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def reason(error: Exception) -> str:
    """The same after the error's kind: `OperationalError: the connection is lost`."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def without_paths(text: str) -> str:
    """The text with the last name alone of each path of this machine, for those who have no business with its folders.

    Addresses of this server's own calls stay, as does what has a scheme before it.
    """
    return _PATH.sub(
        lambda path: path[0] if path[0].startswith(_CALLS) else path[0].rstrip("/").rpartition("/")[2], text
    )
