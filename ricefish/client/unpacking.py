"""Unpacking: a folder that arrived as an archive takes the place of another, whole or not at all."""

from __future__ import annotations

import os
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

from ricefish.client.connection import RicefishError


def unpack(archive: Path, folder: Path) -> None:
    """Puts what an archive holds in the place of a folder, once all of it is unpacked.

    Raises RicefishError if it is damaged.
    """
    beside = archive.with_suffix(".unpacked")
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(beside)
        _put_in_place(beside, folder)
    except zipfile.BadZipFile as error:
        raise RicefishError(f"{folder.name} arrived damaged, and nothing was replaced: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(new: Path, folder: Path) -> None:
    """Gives a folder the name of another, which is removed afterwards; one that cannot be put there changes nothing."""
    before = new.with_suffix(".before")
    try:
        with suppress(FileNotFoundError):
            folder.rename(before)
        new.rename(folder)
    except BaseException:  # whoever ends the command here finds what was there before
        if os.path.lexists(before) and not os.path.lexists(folder):
            before.rename(folder)
        raise
    if before.is_dir() and not before.is_symlink():
        shutil.rmtree(before)
    else:
        before.unlink(missing_ok=True)
