"""Failures: whether an error means a full disk, or a store that does not answer, whichever library raises it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_IN_POSTGRESQL = "53100"
_LIBRARIES_OF_STORES = ("botocore", "aiobotocore", "aiohttp", "s3fs", "fsspec")


def is_full(error: BaseException) -> bool:
    """True where there was no room: on a disk of this machine, or on PostgreSQL's."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        if getattr(cause, "sqlstate", None) == _FULL_IN_POSTGRESQL:
            return True
    return False


def is_away(error: BaseException) -> bool:
    """True for what the system says of files and connections, and for what the libraries of S3 raise."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _LIBRARIES_OF_STORES


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what a driver said beneath it, and what it was raised from."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        cause = left.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            left += [cause.__cause__, getattr(cause, "orig", None)]
