"""Storage: where scans and their segmentations are kept. What passes through lies in `scratch`, on a local disk."""

from __future__ import annotations

from pathlib import Path

from serving.settings import S3_SCHEME, Settings
from serving.storage.contract import (
    Attempt,
    DataDamaged,
    Fenced,
    NoRemoteCopies,
    RemoteCopies,
    Store,
    StoreError,
)
from serving.storage.folder import FolderStore
from serving.storage.scratch import Scratch, replace_text, sync

__all__ = [
    "Attempt",
    "DataDamaged",
    "Fenced",
    "FolderStore",
    "NoRemoteCopies",
    "RemoteCopies",
    "Scratch",
    "Store",
    "StoreError",
    "open_store",
    "raised_by",
    "replace_text",
    "sync",
]


def raised_by(settings: Settings) -> tuple[type[Exception], ...]:
    """What the library of a store that is elsewhere raises, beside OSError."""
    if not settings.store.startswith(S3_SCHEME):
        return ()
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # noqa: PLC0415  as below

    return BotoCoreError, ClientError


def open_store(settings: Settings, scratch: Scratch) -> Store:
    """The store that the settings name; `scratch` is where one that is elsewhere is worked on."""
    if settings.store.startswith(S3_SCHEME):
        from serving.storage.bucket import BucketStore  # noqa: PLC0415  only who uses S3 waits for its library

        return BucketStore(settings.store, scratch=scratch, endpoint=settings.s3_endpoint)
    return FolderStore(Path(settings.store))
