"""Follower: a thread that asks the registry which versions the followed aliases name, and has them put in place.

Nobody waits for it: a registry that is slow, hangs or is gone only leaves things as they are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from serving.models.references import is_registered
from serving.models.registry import Reference, RegisteredVersion, RegistryError, RegistryUnreachable, find_version
from serving.models.served import FIND_SECONDS, ModelError, Models, Reason, ServedReference
from serving.observability import logs
from serving.observability.observer import Observer
from serving.observability.probes import Probe, Unanswered

_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 15.0, 3600.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Refusal:
    """A version that was not put in place."""

    registered: RegisteredVersion
    reason: Reason
    detail: str
    seconds: float
    """When, since 1970."""
    tries: int = 1
    retry_seconds: float | None = None
    """When it is tried again, since 1970; None: not before the alias or the version changes."""

    def stands_for(self, registered: RegisteredVersion) -> bool:
        """True while that version is not to be tried again."""
        waiting = self.retry_seconds is None or time.time() < self.retry_seconds
        return self.registered == registered and waiting


@dataclass(frozen=True)
class Followed:
    """How it stands with an alias."""

    reference: str
    registry_up: bool
    """False where it did not answer when it was last asked."""
    reached_seconds: float | None = None
    """When the registry last answered, since 1970; None: not since the start."""
    trouble: str | None = None
    """What the registry, or the lack of its answer, said last; None where all is well."""
    refusal: Refusal | None = None
    """The last version that was not put in place; gone once the alias names one that serves."""


class Follower:
    """Follows the aliases among what is served."""

    def __init__(self, models: Models, *, every_seconds: float, observer: Observer) -> None:
        """`models` serves already; the registry is asked every so many seconds, and whenever `look` is called.

        `observer` is told what comes of it.
        """
        self._models = models
        self._every_seconds = every_seconds
        self._observer = observer
        self._states = {
            place.reference: _begun(place)
            for place in models.places
            if is_registered(place.reference) and Reference.parse(place.reference).alias is not None
        }
        self._probes = {reference: _probe(reference) for reference in self._states}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._notified: set[str] = set()
        """References that somebody said have moved: what was refused is tried again."""
        self._thread = threading.Thread(target=self._rounds, name="model-follower", daemon=True)
        for reference, state in self._states.items():
            observer.model_followed(Reference.parse(reference).name)
            observer.registry_looked(reference, reached=state.registry_up)
            if state.refusal is not None:
                observer.model_refused(Reference.parse(reference).name, reason=state.refusal.reason)

    @property
    def followed(self) -> Mapping[str, Followed]:
        """How it stands with each alias, by reference."""
        return dict(self._states)

    def look(self, name: str, alias: str) -> bool:
        """Has the registry asked at once, as an alias has moved; False if it is not followed here."""
        moved = {
            reference
            for reference in self._states
            if (asked := Reference.parse(reference)).name == name and asked.alias == alias
        }
        with self._lock:
            self._notified |= moved
        if moved:
            self._wake.set()
        return bool(moved)

    def start(self) -> None:
        """Begins to follow, if there is anything to."""
        if self._states:
            self._thread.start()

    def stop(self) -> None:
        """Ends; what is being fetched or loaded is not waited for for long."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    @property
    def alive(self) -> bool:
        """False if its thread has ended although there is something to follow."""
        return not self._states or self._stopping.is_set() or self._thread.is_alive()

    def _rounds(self) -> None:
        while not self._stopping.is_set():
            for reference in self._states:
                self._attempt(partial(self._look_at, reference))
            self._attempt(self._models.let_go)
            self._wake.wait(self._every_seconds)
            self._wake.clear()

    def _attempt(self, task: Callable[[], object]) -> None:
        try:
            task()
        except Exception as error:  # a bug must not end the following of all others
            logging.getLogger("ricefish").error("following_failed", exc_info=error)

    def _look_at(self, reference: str) -> None:
        with self._lock:  # what is said from now on counts for the next look
            notified = reference in self._notified
            self._notified.discard(reference)
        self._states[reference] = self._looked(self._states[reference], notified=notified)

    def _looked(self, state: Followed, *, notified: bool) -> Followed:
        reference, said = state.reference, state.trouble
        try:
            registered = self._probes[reference].ask()
        except (RegistryUnreachable, Unanswered) as error:
            return self._unreached(state, error)
        except RegistryError as error:
            registered, trouble = None, str(error)
        self._observer.registry_looked(reference, reached=True)
        if not state.registry_up:
            logs.event("registry_reached", reference=reference)
        state = replace(state, registry_up=True, reached_seconds=time.time(), trouble=None)
        if registered is None:
            if said != trouble:
                logs.event("alias_not_there", level=logging.WARNING, reference=reference, error=trouble)
            return replace(state, trouble=trouble)
        return self._followed(state, registered, notified=notified)

    def _unreached(self, state: Followed, error: Exception) -> Followed:
        self._observer.registry_looked(state.reference, reached=False)
        if state.registry_up:
            logs.event("registry_unreachable", level=logging.WARNING, reference=state.reference, error=error)
        return replace(state, registry_up=False, trouble=str(error))

    def _followed(self, state: Followed, registered: RegisteredVersion, *, notified: bool) -> Followed:
        place = _standing(self._models, state.reference)
        if registered == place:
            self._models.agreed(state.reference)
            return replace(state, refusal=None)
        refusal = state.refusal
        if refusal is not None and refusal.stands_for(registered) and not notified:
            return state
        try:
            began = time.monotonic()
            moved = self._models.move(state.reference, registered)
        except ModelError as error:
            return replace(state, refusal=self._refused(state, registered, error))
        except Exception as error:  # of the device, or because the process stops: it may pass
            if self._stopping.is_set():
                return state
            logging.getLogger("ricefish").error("model_not_loaded", exc_info=error)
            failed = ModelError(f"{type(error).__name__}: {error}", reason="device", passing=True)
            return replace(state, refusal=self._refused(state, registered, failed))
        self._observer.model_swapped(registered.name)
        logs.event(
            "model_swapped",
            reference=state.reference,
            version=registered.version,
            before="-" if place is None else place.version,
            sha256=moved.model.identity.sha256[:12],
            seconds=round(time.monotonic() - began, 3),
        )
        return replace(state, refusal=None)

    def _refused(self, state: Followed, registered: RegisteredVersion, error: ModelError) -> Refusal:
        before = state.refusal
        tries = before.tries + 1 if before is not None and before.registered == registered else 1
        wait = min(_FIRST_RETRY_SECONDS * 2.0 ** min(tries - 1, 20), _LAST_RETRY_SECONDS)
        self._observer.model_refused(registered.name, reason=error.reason)
        logs.event(
            "model_refused",
            level=logging.ERROR,
            reference=state.reference,
            version=registered.version,
            reason=error.reason,
            retry_seconds=wait if error.passing else "-",
            error=error,
        )
        retry = time.time() + wait if error.passing else None
        return Refusal(registered, error.reason, str(error), time.time(), tries=tries, retry_seconds=retry)


def _begun(place: ServedReference) -> Followed:
    """How it stands when the process has just begun to serve."""
    trouble = place.trouble
    if trouble is None:
        return Followed(place.reference, registry_up=True, reached_seconds=time.time())
    if place.wanted is None:
        reached = None if trouble.passing else time.time()
        return Followed(place.reference, registry_up=not trouble.passing, reached_seconds=reached, trouble=str(trouble))
    retry = time.time() + _FIRST_RETRY_SECONDS if trouble.passing else None
    refusal = Refusal(place.wanted, trouble.reason, str(trouble), time.time(), retry_seconds=retry)
    return Followed(place.reference, registry_up=True, reached_seconds=time.time(), refusal=refusal)


def _standing(models: Models, reference: str) -> RegisteredVersion | None:
    return next(place.registered for place in models.places if place.reference == reference)


def _probe(reference: str) -> Probe[RegisteredVersion]:
    return Probe(lambda: find_version(reference), most_age_seconds=0.0, limit_seconds=FIND_SECONDS)
