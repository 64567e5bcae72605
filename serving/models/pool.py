"""ModelPool: the models that are loaded, and how one comes to be: from its copy, or fetched from where it is.

A model is loaded for as long as somebody holds it. The pool itself holds the few that only scans needed lately.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from serving.models.cache import ModelCache
from serving.models.loaded_model import LoadedModel, ModelError, ModelIdentity
from serving.models.loader import Loader
from serving.models.registry import (
    RegisteredVersion,
    RegistryError,
    RegistryUnreachable,
    download_version,
    find_version,
)
from serving.observability import logs

_IDLE_SECONDS = 600.0
"""For which a model stays loaded that only scans needed."""
_MOST_IDLE = 2


class ModelPool:
    """The loaded models of a process. Safe to use from several threads; what is loaded already is there at once."""

    def __init__(self, cache: ModelCache, loader: Loader, *, make_room: Callable[[], bool]) -> None:
        """`make_room` is called where the device has no memory left, and says whether it let go of anything."""
        self._cache = cache
        self._loader = loader
        self._make_room = make_room
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        """Held for moments: over both dictionaries."""
        self._loaded: WeakValueDictionary[str, LoadedModel] = WeakValueDictionary()
        self._idle: dict[str, tuple[float, LoadedModel]] = {}
        """Models that scans needed, with the time of their last use; the latest last."""

    def from_folder(self, folder: Path) -> LoadedModel:
        """The model in a folder. Raises ModelError."""
        return self.obtain(self._cache.add(folder))

    def from_registry(
        self, reference: str, registered: RegisteredVersion, *, like: LoadedModel | None = None
    ) -> LoadedModel:
        """A registered version: from its copy if that is there and whole, else fetched. Raises ModelError."""
        identity = self._cache.known(reference, registered)
        if identity is not None:
            try:
                return self.obtain(identity, like=like)
            except ModelError as error:
                if error.reason != "hash":
                    raise
        return self.obtain(self._fetched(registered), like=like)

    def obtain(self, identity: ModelIdentity, *, like: LoadedModel | None = None) -> LoadedModel:
        """The model, loaded already or else from its copy; see Loader.load for `like`. Raises ModelError."""
        model = self._found(identity)
        if model is None:
            with self._loading:
                model = self._found(identity) or self._load(identity, like=like)
        if model.identity != identity:  # the same files under another version's number
            model = replace(model, identity=identity)
        with self._lock:
            self._loaded[identity.key] = model
        return model

    def _found(self, identity: ModelIdentity) -> LoadedModel | None:
        with self._lock:
            return self._loaded.get(identity.key)

    def keep_idle(self, model: LoadedModel) -> None:
        """Holds a model that nothing else may hold soon, for the next scan that needs it."""
        with self._lock:
            self._idle.pop(model.identity.key, None)
            self._idle[model.identity.key] = (time.monotonic(), model)
            while len(self._idle) > _MOST_IDLE:
                del self._idle[next(iter(self._idle))]

    def let_go(self, *, at_once: bool) -> bool:
        """Lets go of what no scan has needed for long; True if there was any."""
        now = time.monotonic()
        with self._lock:
            idle = [key for key, (used, _) in self._idle.items() if at_once or now - used > _IDLE_SECONDS]
            for key in idle:
                del self._idle[key]
        return bool(idle)

    @property
    def any_idle(self) -> LoadedModel | None:
        """One of the models that it holds."""
        with self._lock:
            return next((model for _, model in self._idle.values()), None)

    def prune(self, needed: Collection[str], *, grace_seconds: float | None = None) -> None:
        """Deletes copies that are, by key, neither in `needed` nor loaded; see ModelCache.prune."""
        with self._lock:  # a weak dictionary cannot be gone through while another thread adds to it
            loaded = set(self._loaded.keys())
        given = {} if grace_seconds is None else {"grace_seconds": grace_seconds}
        self._cache.prune({*needed, *loaded}, **given)

    def _fetched_again(self, identity: ModelIdentity) -> bool:
        """True where the registry still gives the very files of a model whose copy is gone or damaged."""
        if identity.version is None:
            return False
        try:
            found = self._fetched(find_version(f"{identity.name}/{identity.version}"))
        except (ModelError, RegistryError) as error:
            logs.event("model_not_fetched_again", model=identity.name, version=identity.version, error=error)
            return False
        return found.key == identity.key

    def _fetched(self, registered: RegisteredVersion) -> ModelIdentity:
        try:
            with self._cache.incoming() as temporary:
                folder = download_version(registered, into=Path(temporary))
                return self._cache.add(folder, name=registered.name, version=registered.version)
        except RegistryError as error:
            passing = isinstance(error, RegistryUnreachable)
            raise ModelError(str(error), reason="registry", passing=passing) from error
        except OSError as error:
            raise ModelError(
                f"{registered.name} version {registered.version} cannot be kept in the store: {error}",
                reason="store",
                passing=True,
            ) from error

    def _copied(self, identity: ModelIdentity) -> Path:
        """The folder of a whole copy. Raises ModelError."""
        folder = self._cache.copy(identity.key)
        if folder is None:
            raise ModelError(
                f"the scan began with model {identity.name} (SHA-256 {identity.sha256}), which the store no longer "
                f"holds; another model must not finish it: delete the scan and post it again",
                reason="hash",
            )
        self._cache.check(identity.key)
        return folder

    def _load(self, identity: ModelIdentity, *, like: LoadedModel | None) -> LoadedModel:
        try:
            folder = self._copied(identity)
        except ModelError:
            if not self._fetched_again(identity):
                raise
            folder = self._copied(identity)
        try:
            return self._loader.load(folder, identity, like=like)
        except ModelError as error:
            if error.reason != "device" or not self._make_room():
                raise
            logs.event("model_loaded_again", model=identity.name, error=error)
        return self._loader.load(folder, identity, like=like)
