"""Replacing: a file or folder takes its name when all of it is on the disk; what was there before stays until then."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, file or folder; it takes the final name if nothing is raised, else it goes."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        _sync(part)
        if path.is_dir():
            old = part.with_suffix(".old")
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old)
        else:
            part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _sync(part: Path) -> None:
    for file in [part] if part.is_file() else [child for child in part.rglob("*") if child.is_file()]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
