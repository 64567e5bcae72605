"""The SQLite file of a local MLflow store: several processes may be the first to use it, and making it is noisy."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEME = "sqlite:///"


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Of several first clients of a new SQLite file one makes the tables inside this, and the others wait.

    A store with another scheme is its server's business.
    """
    if not uri.startswith(_SCHEME):
        yield
        return
    path = Path(uri.removeprefix(_SCHEME))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Making the tables logs a line for each migration, and sets up the root logger: both are undone."""
    root = logging.getLogger()
    handlers, level, disabled = root.handlers[:], root.level, root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
