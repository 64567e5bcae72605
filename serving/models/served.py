"""Models: what is served at the moment, under which references, and the models that scans under way began with.

Whoever is given a LoadedModel keeps it for as long as he holds it: a version that is put in its place changes nothing
for a request or a scan that began before. What nobody holds gives its memory back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from serving.inference.runtime.segmentation_runtime import Engine, Served
from serving.inference.runtime.session import Device
from serving.inference.tuning import Tuner
from serving.models.cache import ModelCache
from serving.models.loaded_model import LoadedModel, ModelError, ModelIdentity, ModelNotServed, Reason
from serving.models.loader import Answer, Loader, directly
from serving.models.pool import ModelPool
from serving.models.references import KeptVersion, is_registered
from serving.models.registry import RegisteredVersion, RegistryError, RegistryUnreachable, find_version, prepare
from serving.observability import logs
from serving.observability.probes import Probe, Unanswered
from serving.storage import NoRemoteCopies, RemoteCopies

__all__ = [
    "LoadedModel",
    "ModelError",
    "ModelIdentity",
    "ModelNotServed",
    "Models",
    "Reason",
    "Served",
    "ServedReference",
]

FIND_SECONDS = 15.0
"""That the registry is given to say which version a reference means."""
_ROLLBACK_SECONDS = 900.0
"""For which the version before stays loaded, to be put back at once; later it comes from its copy."""
_CONFIRM_SECONDS = 86400.0


@dataclass(frozen=True)
class ServedReference:
    """A reference, and what stands in its place at the moment."""

    reference: str
    model: LoadedModel
    registered: RegisteredVersion | None
    """None for a model from a folder."""
    since_seconds: float
    """Seconds since 1970."""
    before: LoadedModel | None = None
    """The version before, as long as it stays loaded."""
    trouble: ModelError | None = None
    """Why it was begun with the copy of an earlier start, and not with what the registry says."""
    wanted: RegisteredVersion | None = None
    """The version that the trouble is with; None where the registry named none."""


class Models:
    """The models of a process. Safe to use from several threads; none waits for another's loading."""

    def __init__(
        self,
        folder: Path,
        *,
        device: Device,
        tuner: Tuner,
        precision: Served | Literal["auto"] = "auto",
        engine: Engine | Literal["auto"] = "auto",
        remote: RemoteCopies | None = None,
        answer: Answer = directly,
    ) -> None:
        """`folder` holds copies by key, which other processes find `remote`; `answer`: see Loader."""
        self._cache = ModelCache(folder, remote=remote or NoRemoteCopies())
        loader = Loader(device=device, tuner=tuner, precision=precision, engine=engine, answer=answer)
        self._pool = ModelPool(self._cache, loader, make_room=lambda: self.let_go(at_once=True))
        self._lock = threading.Lock()
        self._confirmed = time.monotonic()
        self._places: tuple[ServedReference, ...] = ()

    @property
    def current(self) -> LoadedModel:
        """The model for new scans. Raises ModelError before `serve`."""
        if not self._places:
            raise ModelError("no model is loaded yet")
        return self._places[0].model

    @property
    def places(self) -> tuple[ServedReference, ...]:
        """What is served, by reference, the default first; none before `serve`."""
        return self._places

    def served(self) -> tuple[LoadedModel, ...]:
        """All models that new work can be given, the default first; none before `serve`."""
        by_key = {(place.model.identity, place.model.precision): place.model for place in self._places}
        return tuple(by_key.values())

    def find(self, name: str | None = None, version: str | None = None) -> LoadedModel:
        """The served model of that name and version; None: the default's name, its present version.

        Raises ModelNotServed.
        """
        served = self.served()
        name = name or (served[0].identity.name if served else None)
        for model in served:
            if name == model.identity.name and version in (None, model.identity.shown_version):
                return model
        there = ", ".join(f"{m.identity.name} version {m.identity.shown_version}" for m in served)
        raise ModelNotServed(
            f"model {name or 'any'} version {version or 'any'} is not served; there is {there or 'none'}"
        )

    def serve(self, reference: str, *beside: str) -> LoadedModel:
        """Makes the model that `reference` names the default one, and serves those of other references beside it.

        A registered model whose registry is down, or whose version there cannot be served, is served as it was when
        it could last be, from its copy: `ServedReference.trouble` says why. Raises ModelError if one is not there, if
        its hash is not the manifest's, if the manifest or the graph does not keep to the contract, if it does not
        reproduce its golden slice, or if two could not be told apart.
        """
        places = tuple(self._begun(one) for one in dict.fromkeys((reference, *beside)))
        _check_names(places)
        for place in places[:-1]:  # the last one's note names all others, and these do not name it yet
            self._remember(place)
        with self._lock:
            self._places = places
        return self.current

    def move(self, reference: str, registered: RegisteredVersion) -> ServedReference:
        """Puts another registered version in the place of a reference, once it has reproduced its golden slice.

        Takes as long as fetching and loading do, and disturbs nobody meanwhile. Raises ModelError, and then nothing
        has changed.
        """
        before = next(place.model for place in self._places if place.reference == reference)
        model = self._pool.from_registry(reference, registered, like=before)
        if model.manifest.organs != before.manifest.organs:
            logs.event("model_organs_differ", level=logging.WARNING, model=registered.name, version=registered.version)
        moved = ServedReference(reference, model, registered, time.time(), before=before)
        with self._lock:
            self._places = tuple(moved if one.reference == reference else one for one in self._places)
        self._remember(moved)
        return moved

    def agreed(self, reference: str) -> None:
        """The registry says that a reference means what is in its place."""
        with self._lock:
            self._places = tuple(
                replace(one, trouble=None, wanted=None) if one.reference == reference and one.trouble else one
                for one in self._places
            )

    def of_scan(self, identity: ModelIdentity) -> LoadedModel:
        """The very model that a scan began with. Raises ModelError if the store no longer has it."""
        places = self._places
        model = self._pool.obtain(identity, like=places[0].model if places else self._pool.any_idle)
        if all(model.runtime is not place.model.runtime for place in places):
            self._pool.keep_idle(model)
        return model

    def let_go(self, *, at_once: bool = False) -> bool:
        """Lets go of what stayed loaded to be quick, once it has been idle for long; True if there was any."""
        idle, now = self._pool.let_go(at_once=at_once), time.time()
        with self._lock:
            old = [
                place.reference
                for place in self._places
                if place.before is not None and (at_once or now - place.since_seconds > _ROLLBACK_SECONDS)
            ]
            self._places = tuple(replace(p, before=None) if p.reference in old else p for p in self._places)
        return idle or bool(old)

    def prune(self, needed: Collection[str], *, grace_seconds: float | None = None) -> None:
        """Deletes the store's copies that are, by key, not in `needed`, not loaded here, and meant by no reference."""
        self._pool.prune(needed, grace_seconds=grace_seconds)

    def confirm(self) -> None:
        """Notes again, once a day, what each reference means: other processes go on keeping its copies."""
        if time.monotonic() - self._confirmed > _CONFIRM_SECONDS:
            self._confirmed = time.monotonic()
            for place in self._places:
                self._remember(place)

    def _begun(self, reference: str) -> ServedReference:
        if is_registered(reference):
            place = self._begun_registered(reference)
        else:
            place = ServedReference(reference, self._pool.from_folder(Path(reference).expanduser()), None, time.time())
        self._remember(place)
        return place

    def _begun_registered(self, reference: str) -> ServedReference:
        note, registered = self._cache.note(reference), None
        try:
            registered = _found(reference, waiting=note is None)
            return ServedReference(reference, self._pool.from_registry(reference, registered), registered, time.time())
        except ModelError as error:
            if note is None or self._cache.copy(note.versions[0].identity.key) is None:
                raise
            trouble = error
        kept = note.versions[0]
        model = self._pool.obtain(kept.identity)
        logs.event(
            "model_served_from_cache",
            level=logging.WARNING,
            reference=reference,
            version=kept.identity.version or "-",
            error=trouble,
        )
        return ServedReference(reference, model, kept.registered, time.time(), trouble=trouble, wanted=registered)

    def _remember(self, place: ServedReference) -> None:
        try:
            self._cache.remember(place.reference, KeptVersion(place.model.identity, place.registered))
        except Exception as error:  # whatever the disk or the bucket raises; it is served all the same
            logs.event("reference_not_noted", level=logging.ERROR, reference=place.reference, error=error)


def _found(reference: str, *, waiting: bool) -> RegisteredVersion:
    """`waiting`: for as long as it takes, since there is nothing else to serve."""
    try:
        prepare()
        if waiting:
            return find_version(reference)
        return Probe(lambda: find_version(reference), most_age_seconds=0.0, limit_seconds=FIND_SECONDS).ask()
    except Unanswered as error:
        raise ModelError(f"{reference}: the registry: {error}", reason="registry", passing=True) from error
    except RegistryError as error:
        passing = isinstance(error, RegistryUnreachable)
        raise ModelError(f"{reference}: {error}", reason="registry", passing=passing) from error


def _check_names(places: Collection[ServedReference]) -> None:
    seen: dict[tuple[str, str], ServedReference] = {}
    for place in places:
        identity = place.model.identity
        other = seen.setdefault((identity.name, identity.shown_version), place)
        if other.model.identity.key != identity.key:
            raise ModelError(
                f"{other.reference} and {place.reference} both hold a model {identity.name} version "
                f"{identity.shown_version}; requests could not tell them apart: give one another name in its manifest"
            )
