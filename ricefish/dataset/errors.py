"""DataSetError: why nothing was added to a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class DataSetError(ValueError):
    """Scans that cannot be added to a data set; `problems` holds every reason that was found, as does the message."""

    def __init__(self, folder: Path, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n  - ".join([f"nothing was added to {folder}:", *self.problems]))
