"""Borrowed: a store's model copies and notes, looked at as a server would, with nothing changed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.model_cache import REFERENCES_DIR, ModelCache, Nowhere
from serving.references import Note
from serving.settings import Settings
from serving.store import Scratch, Store, open_store


@dataclass(frozen=True)
class Borrowed:
    """What `borrowed` gives."""

    store: Store

    def note(self, reference: str) -> Note | None:
        """What a reference meant last; None where nothing is known of it, or its copy is gone."""
        cache = ModelCache(self.store.models_dir, elsewhere=self.store)
        note = cache.note(reference)
        return note if note is not None and cache.copy(note.versions[0].identity.key) is not None else None

    def into(self, folder: Path) -> _Copies:
        """Has another cache's folder find them."""
        return _Copies(self.store, folder)


@contextmanager
def borrowed(settings: Settings) -> Iterator[Borrowed]:
    """The store of a server with these settings, not claimed."""
    with tempfile.TemporaryDirectory(prefix="ricefish-doctor-") as folder, Scratch(Path(folder)).opened() as scratch:
        store = open_store(settings, scratch)
        with store.open(alone=False):
            yield Borrowed(store)


class _Copies(Nowhere):
    """Copies out of a store, and nothing into it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def fetch_model(self, key: str) -> None:
        """Copies a copy."""
        self._store.fetch_model(key)
        there, here = self._store.models_dir / key, self._folder / key
        if there.is_dir() and not here.is_dir():
            shutil.copytree(there, here)

    def fetch_references(self) -> None:
        """Copies all notes."""
        self._store.fetch_references()
        there = self._store.models_dir / REFERENCES_DIR
        if there.is_dir():
            shutil.copytree(there, self._folder / REFERENCES_DIR, dirs_exist_ok=True)
