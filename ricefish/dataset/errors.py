"""DataSetError: why scans were not added to a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class DataSetError(ValueError):
    """Scans that cannot be added to a data set; `problems` holds every reason that was found, as does the message.

    `added`: the images of those that were, before it was found.
    """

    def __init__(self, folder: Path, problems: Sequence[str], *, added: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        self.added = tuple(added)
        head = f"nothing was added to {folder}:"
        if added:
            head = f"added to {folder}: {', '.join(added)}; nothing after that:"
        super().__init__("\n  - ".join([head, *self.problems]))
