"""FormatError, the one exception that a file can cause, and the guard that turns library errors into it."""

from __future__ import annotations

import errno
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WHOLE_FILE = "a complete, undamaged file"
GREY_VALUES = "one real number per voxel: integers of 8 to 64 bits or floating point"
ONE_VOLUME = "one volume of three axes (z, y, x)"

_LONGEST_FINDING = 2000
"""Characters of what was found in a file, which may be made of its own text."""

_FILTERS = threading.Lock()

_NOT_THE_FILES_FAULT = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ESTALE}
)


class FormatError(ValueError):
    """A file that cannot be read as a volume: which, what was found in it, and what is accepted instead."""

    def __init__(self, path: Path, found: str, accepted: str) -> None:
        if len(found) > _LONGEST_FINDING:
            found = f"{found[:_LONGEST_FINDING]}..."
        super().__init__(f"{path}: {found}; accepted: {accepted}")
        self.path = path
        self.found = found
        self.accepted = accepted

    @property
    def detail(self) -> str:
        """The message without the path, for those who know the file by another name."""
        return f"{self.found}; accepted: {self.accepted}"

    def __reduce__(self) -> tuple[type[FormatError], tuple[Path, str, str]]:
        return type(self), (self.path, self.found, self.accepted)


class SpacingMissing(FormatError):
    """The file does not say how far apart its voxels are, and nobody else did."""

    def __init__(self, path: Path, found: str, accepted: str = "") -> None:
        super().__init__(
            path,
            found,
            accepted
            or "the spacing given with the file, z,y,x in mm: --spacing 0.01,0.005,0.005 on the command line, "
            "the parameter spacing=0.01,0.005,0.005 over HTTP",
        )


class NoSpacing(Exception):
    """Raised where a header's lengths say nothing, with what is there instead; a given spacing cures it."""


def how_to_name(example: str) -> str:
    """Where whoever brings a file can say which of its volumes is meant, or which axis is its slices."""
    return (
        f"--dataset {example} on the command line, the parameter dataset={example} over HTTP, "
        "a line in datasets.yaml of a raw data set"
    )


class NotSegmentable(ValueError):
    """A series to which no DICOM Segmentation can refer, or too large a one; the message says why."""


@contextmanager
def guarded(path: Path, doing: str) -> Iterator[None]:
    """Whatever a library raises inside becomes a FormatError that says so.

    FormatError passes as it is, as do the errors that are not the file's fault: memory, permissions, a failing disk.
    `doing` completes "damaged: ... while", such as "reading slices 3 to 7".
    """
    try:
        yield
    except (FormatError, MemoryError):
        raise
    except OSError as error:
        if error.errno in _NOT_THE_FILES_FAULT:
            raise
        raise _damaged(path, doing, error) from error
    except Exception as error:
        raise _damaged(path, doing, error) from error


def _damaged(path: Path, doing: str, error: Exception) -> FormatError:
    reason = " ".join(str(error).replace(str(path), path.name).split())[:300] or type(error).__name__
    return FormatError(path, f"damaged or truncated: {reason} (while {doing})", WHOLE_FILE)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keeps libraries from warning of what they read. One thread at a time: Python's filters are the process's."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def silence(*loggers: str) -> None:
    """Keeps libraries from logging what a FormatError already says."""
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
