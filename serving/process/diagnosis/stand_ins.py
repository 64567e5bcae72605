"""Stand-ins: a store and a queue that are not made yet are tried where they would be made, and are gone again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.settings import Settings
from serving.storage import FolderStore
from serving.storage.database import Database
from serving.storage.locations import DATABASE_FILE
from serving.storage.private_folder import unusable

_PREFIX = ".ricefish-doctor-"


def store_made(settings: Settings) -> bool:
    """True where the store is a bucket, or a folder in which a server has been."""
    return settings.store_dir is None or FolderStore(settings.store_dir).made


def queue_made(url: str) -> bool:
    """True unless the queue would be a new file."""
    database = Database(url)
    database.close()
    return database.file is None or database.file.exists()


@contextmanager
def of_store(settings: Settings) -> Iterator[Settings]:
    """The settings, with a store that may be opened: theirs, or one beside it that is removed at the end."""
    if settings.store_dir is None or store_made(settings):
        yield settings
        return
    with _beside(settings.store_dir, what="the store") as folder:
        yield settings.model_copy(update={"store": str(folder)})


@contextmanager
def of_queue(url: str) -> Iterator[str]:
    """The address of a queue that may be opened: this one, or one beside it that is removed at the end."""
    if queue_made(url):
        yield url
        return
    file = Database(url).file
    with _beside(file.parent if file else Path.cwd(), what="the folder of the queue") as folder:
        yield f"sqlite:///{folder / DATABASE_FILE}"


def nearest(folder: Path) -> Path:
    """The folder, or what is there of the ones above it."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


@contextmanager
def _beside(wanted: Path, *, what: str) -> Iterator[Path]:
    try:
        made = tempfile.TemporaryDirectory(dir=nearest(wanted), prefix=_PREFIX)
    except OSError as error:
        raise unusable(what, wanted, error) from error
    with made as folder:
        yield Path(folder)
