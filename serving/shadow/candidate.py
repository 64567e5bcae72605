"""Candidate: the shadow's model, loaded when there is first something to compare, checked and followed like others."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.follower import Follower
from serving.models.served import LoadedModel, ModelError, Models
from serving.observability import logs
from serving.observability.observer import Observer
from serving.settings import Settings
from serving.storage import Scratch, Store

_AGAIN_SECONDS = 60.0
_BATCH_SIZE = 4


class ShadowModel:
    """Called, gives the model, or None while there is none: what waits for it waits, and nothing fails for want of it.

    A model that cannot be loaded, be the registry down or the model broken, is logged and tried again a minute later.
    An alias is followed from then on, so that what is compared is what the registry calls so at the time.
    """

    def __init__(self, begin: Callable[[], Models], *, follow_seconds: float) -> None:
        """`begin` gives models that serve the shadow alone; it raises ModelError."""
        self._begin = begin
        self._follow_seconds = follow_seconds
        self._models: Models | None = None
        self._follower: Follower | None = None
        self._not_before = 0.0

    @classmethod
    def of(cls, settings: Settings, store: Store, scratch: Scratch) -> ShadowModel:
        """What RICEFISH_SHADOW names, kept in the store as other models are, with a note of what the reference meant.

        How to run it is not measured, which would take the device from those who have come meanwhile: small batches,
        which nobody waits for long, on all cores.
        """

        def begin() -> Models:
            threads, batch_size = settings.threads or os.cpu_count() or 1, settings.batch_size or _BATCH_SIZE
            tuner = Tuner(scratch.root, overrides=TuningOverrides(threads=threads, batch_size=batch_size))
            models = Models(
                store.models_dir,
                device=settings.device,
                tuner=tuner,
                precision=settings.precision,
                engine=settings.engine,
                remote=store,
            )
            models.serve(settings.shadow)
            return models

        return cls(begin, follow_seconds=settings.follow_seconds)

    def __call__(self) -> LoadedModel | None:
        """The model; loading it takes as long as it takes. Called by one thread alone."""
        if self._models is None and time.monotonic() >= self._not_before:
            try:
                self._models = self._begin()
            except (ModelError, OSError) as error:
                self._not_before = time.monotonic() + _AGAIN_SECONDS
                logs.event("shadow_not_loaded", level=logging.ERROR, error=error, next_seconds=_AGAIN_SECONDS)
                return None
            self._follower = Follower(self._models, every_seconds=self._follow_seconds, observer=Observer())
            self._follower.start()
        return None if self._models is None else self._models.current

    def close(self) -> None:
        """Follows no longer."""
        if self._follower is not None:
            self._follower.stop()
