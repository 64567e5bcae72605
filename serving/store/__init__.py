"""Store: where scans and their segmentations are kept. What passes through lies in `scratch`, on a local disk."""

from __future__ import annotations

from pathlib import Path

from serving.settings import S3_SCHEME, Settings
from serving.store.contract import Attempt, Fenced, Store, StoredFile, StoreError
from serving.store.folder import FolderStore
from serving.store.scratch import Scratch, sync

__all__ = ["Attempt", "Fenced", "FolderStore", "Scratch", "Store", "StoreError", "StoredFile", "open_store", "sync"]


def open_store(settings: Settings) -> Store:
    """The store that the settings name. Raises StoreError where it cannot be used."""
    if settings.store.startswith(S3_SCHEME):
        raise StoreError(f"the store {settings.store} is on S3, which this version cannot use; give a folder")
    return FolderStore(Path(settings.store))
