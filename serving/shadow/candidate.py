"""Candidate: the shadow's model, loaded when there is first something to compare, and checked like any other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from serving import logs
from serving.models import LoadedModel, ModelError

_AGAIN_SECONDS = 60.0


class Candidate:
    """Called, gives the model, or None while there is none: what waits for it waits, and nothing fails for want of it.

    A model that cannot be loaded, be the registry down or the model broken, is logged and tried again a minute later.
    """

    def __init__(self, load: Callable[[], LoadedModel]) -> None:
        """`load` raises ModelError."""
        self._load = load
        self._loaded: LoadedModel | None = None
        self._not_before = 0.0

    def __call__(self) -> LoadedModel | None:
        """The model; loading it takes as long as it takes. Called by one thread alone."""
        if self._loaded is None and time.monotonic() >= self._not_before:
            try:
                self._loaded = self._load()
            except (ModelError, OSError) as error:
                self._not_before = time.monotonic() + _AGAIN_SECONDS
                logs.event("shadow_not_loaded", level=logging.ERROR, error=error, next_seconds=_AGAIN_SECONDS)
        return self._loaded
