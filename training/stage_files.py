"""Stage files: what a stage wrote and another reads; one that is gone or damaged is named, with the way out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AGAIN = "`dvc repro` makes it again"
_MOST_CHARACTERS = 200


class StageFileError(ValueError):
    """A file is not as a stage wrote it; the message names it and says what makes it again."""


@contextmanager
def stage_file(path: Path) -> Iterator[None]:
    """Within it a file is opened, parsed and made into values. Raises StageFileError where that cannot be done."""
    try:
        yield
    except StageFileError:
        raise
    except FileNotFoundError:
        raise StageFileError(f"{path} does not exist; {AGAIN}") from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise StageFileError(f"{path} is damaged, or not from this version ({in_short(error)}); {AGAIN}") from error


def read_json(path: Path) -> Any:
    """What a stage wrote as JSON. Raises StageFileError."""
    with stage_file(path):
        return json.loads(path.read_text(encoding="utf-8"))


def in_short(error: Exception) -> str:
    """An error in one line, by its kind where its text alone says nothing."""
    text = " ".join(str(error).split())[:_MOST_CHARACTERS]
    return f"{text} is missing" if isinstance(error, KeyError) else text or type(error).__name__
