"""Locations: where a server of these settings keeps what passes through it, and its queue."""

from __future__ import annotations

from pathlib import Path

from serving.settings import S3_SCHEME, Settings
from serving.storage import StoreError

DATABASE_FILE = "jobs.sqlite"


def scratch_dir(settings: Settings) -> Path:
    """Where a server keeps what is on its way in or out. Raises StoreError where that has to be said."""
    if settings.scratch is not None:
        return settings.scratch
    if settings.store.startswith(S3_SCHEME):
        raise StoreError(f"the store {settings.store} is not on this machine: set RICEFISH_SCRATCH to a local folder")
    return Path(settings.store) / "scratch"


def database_url(settings: Settings) -> str:
    """Address of the queue: SQLite in the store, or in the scratch folder beside a bucket. Raises StoreError."""
    if settings.database_url is not None:
        return settings.database_url
    return f"sqlite:///{(settings.store_dir or scratch_dir(settings)) / DATABASE_FILE}"
