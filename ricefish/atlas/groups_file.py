"""fish.csv: which fish is of which group."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ricefish.atlas.sources import AtlasSource

_NAMES = ("file", "scan", "fish")
"""Of the column that names fish."""
_GROUP = "group"
_LISTED = 10
EXAMPLE = "a column file (or scan) and a column group, such as\nfile,group\nfish_1.nii.gz,control"


class GroupsError(ValueError):
    """A table of groups that cannot be used; the message names the file, and what would be right."""


def read_groups(path: Path, sources: Sequence[AtlasSource]) -> dict[str, str]:
    """The group of each fish, by the fish's name.

    The table is CSV with commas, semicolons or tabs, in UTF-8, with a column `file`, `scan` or `fish` and a column
    `group`. A fish is named as on the command line, by its file's name, with suffix or without, or by its id. Raises
    GroupsError for what is no such table, names that are no fish's, fish that it does not name, and those that stand
    twice: each lists them all.
    """
    rows = list(_rows(path))
    found: dict[str, str] = {}
    unknown: list[str] = []
    unclear: list[str] = []
    for name, group in rows:
        meant = [source for source in sources if source.is_called(name)]
        if len(meant) == 1:
            found[meant[0].name] = group
        else:
            (unclear if meant else unknown).append(name)
    twice = [name for name, count in Counter(name for name, _ in rows).items() if count > 1]
    missing = [source.name for source in sources if source.name not in found]
    problems = [
        f"{words}: {_listed(names)}"
        for words, names in (
            ("names that are none of the scans", unknown),
            ("names that more than one scan has (write the folder's name before it)", unclear),
            ("names that stand twice", twice),
            ("scans without a group", [] if unclear else missing),
        )
        if names
    ]
    if problems:
        known = _listed([source.name for source in sources])
        raise GroupsError(f"{path}: {'; '.join(problems)}. The scans are: {known}")
    return found


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Name and group of each line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise GroupsError(f"{path} is not UTF-8 ({error.reason}); save it as CSV UTF-8") from None
    lines = text.splitlines()
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    table = csv.DictReader(lines, delimiter=delimiter)
    columns = {str(name).strip().lower(): name for name in table.fieldnames or ()}
    named = next((columns[name] for name in _NAMES if name in columns), None)
    if named is None or _GROUP not in columns:
        raise GroupsError(f"{path} has the columns {', '.join(columns) or 'none'}; expected {EXAMPLE}")
    for number, row in enumerate(table, 2):
        name, group = (row[named] or "").strip(), (row[columns[_GROUP]] or "").strip()
        if not name and not group:
            continue
        if not name or not group:
            raise GroupsError(f"{path}, line {number}: a {'scan' if group else 'group'} is missing")
        yield name, group


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
