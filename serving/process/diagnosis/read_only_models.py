"""Read only: a store's model copies and notes, looked at as a server would, with nothing changed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from serving.models.cache import REFERENCES_DIR, ModelCache
from serving.models.references import Note
from serving.process.diagnosis.stand_ins import store_made
from serving.settings import Settings
from serving.storage import NoRemoteCopies, RemoteCopies, Scratch, Store, open_store


@dataclass(frozen=True)
class ReadOnlyModels:
    """What `borrowed` gives."""

    store: Store | None
    """None where it cannot be used, or is not made yet, of which its own check tells: nothing is known or copied."""

    def note(self, reference: str) -> Note | None:
        """What a reference meant last; None where nothing is known of it, or its copy is gone."""
        if self.store is None:
            return None
        cache = ModelCache(self.store.models_dir, remote=self.store)
        note = cache.note(reference)
        return note if note is not None and cache.copy(note.versions[0].identity.key) is not None else None

    def into(self, folder: Path) -> RemoteCopies:
        """Has another cache's folder find them."""
        return NoRemoteCopies() if self.store is None else _Copies(self.store, folder)


@contextmanager
def borrowed(settings: Settings) -> Iterator[ReadOnlyModels]:
    """The store of a server with these settings, not claimed."""
    if not store_made(settings):
        yield ReadOnlyModels(None)
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ricefish-doctor-"))
        scratch = stack.enter_context(Scratch(Path(folder)).opened())
        store: Store | None = None
        with suppress(OSError):
            opened = open_store(settings, scratch)
            stack.enter_context(opened.open(alone=False))
            store = opened
        yield ReadOnlyModels(store)


class _Copies(NoRemoteCopies):
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
