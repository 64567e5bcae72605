"""Private folder: one that nobody else enters, and in whose place nobody has put a link or a folder beforehand."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from serving.storage.contract import StoreError

_PRIVATE = 0o700


class PlantedFolder(StoreError):
    """What stands where a folder of ours should be, and may have been put there by somebody else."""


def make_private(root: Path, names: Iterable[str] = ()) -> None:
    """Makes a folder, and those of these names in it, for this user alone, and all above it that are missing.

    What is there already stays as it is. A link, and what another user owns, is followed only where nobody but an
    operator can have put it there: above the folder, where not everybody may write. Raises PlantedFolder, and OSError
    where a folder cannot be made.
    """
    missing = [folder for folder in root.parents if not folder.exists()]
    for folder in (*reversed(missing), root):
        folder.mkdir(mode=_PRIVATE, exist_ok=True)
    if root.parent.stat().st_mode & stat.S_IWOTH:
        _check(root)
    for name in names:
        (root / name).mkdir(mode=_PRIVATE, exist_ok=True)
        _check(root / name)


def close_to_others(folder: Path) -> None:
    """Lets nobody else enter a folder that is this user's."""
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(_PRIVATE)


def open_lock(path: Path) -> TextIO:
    """A file to lock, made where there is none. Raises OSError, where a link is in its place as well."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "r+")


def unusable(what: str, folder: Path | str, error: OSError) -> StoreError:
    """What to say of a folder that cannot be used."""
    return (
        error if isinstance(error, StoreError) else StoreError(f"{what} {folder} cannot be written: {error.strerror}")
    )


def _check(folder: Path) -> None:
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise PlantedFolder(f"{folder} is a link, which others may have put there: remove it")
    if found.st_uid not in (os.geteuid(), 0):
        raise PlantedFolder(f"{folder} is a folder of another user's (uid {found.st_uid}), who may have put it there")
