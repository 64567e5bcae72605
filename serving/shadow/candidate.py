"""Candidate: the shadow's model, loaded when there is first something to compare, and checked like any other."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from serving import logs
from serving.models import LoadedModel, ModelError, Models
from serving.settings import Settings
from serving.store import Scratch
from serving.tuning import Tuner, Wanted

_AGAIN_SECONDS = 60.0
_BATCH_SIZE = 4


class Candidate:
    """Called, gives the model, or None while there is none: what waits for it waits, and nothing fails for want of it.

    A model that cannot be loaded, be the registry down or the model broken, is logged and tried again a minute later.
    """

    def __init__(self, load: Callable[[], LoadedModel]) -> None:
        """`load` raises ModelError."""
        self._load = load
        self._loaded: LoadedModel | None = None
        self._not_before = 0.0

    @classmethod
    def of(cls, settings: Settings, scratch: Scratch) -> Candidate:
        """What RICEFISH_SHADOW names, kept in a folder of its own in the scratch, and loaded once.

        How to run it is not measured, which would take the device from those who have come meanwhile: small batches,
        which nobody waits for long, on all cores.
        """

        def load() -> LoadedModel:
            threads, batch_size = settings.threads or os.cpu_count() or 1, settings.batch_size or _BATCH_SIZE
            tuner = Tuner(scratch.root, wanted=Wanted(threads=threads, batch_size=batch_size))
            models = Models(scratch.root / "shadow", device=settings.device, tuner=tuner, precision=settings.precision)
            model = models.serve(settings.shadow)
            models.prune(())
            return model

        return cls(load)

    def __call__(self) -> LoadedModel | None:
        """The model; loading it takes as long as it takes. Called by one thread alone."""
        if self._loaded is None and time.monotonic() >= self._not_before:
            try:
                self._loaded = self._load()
            except (ModelError, OSError) as error:
                self._not_before = time.monotonic() + _AGAIN_SECONDS
                logs.event("shadow_not_loaded", level=logging.ERROR, error=error, next_seconds=_AGAIN_SECONDS)
        return self._loaded
