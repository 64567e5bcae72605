"""Quiet: whether a process has nothing better to do than to run a shadow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from serving.inference.scheduling import ComputedBatch, Urgency

_SECONDS = 1.0
"""After the last single slice; its sender may be about to send the next one."""


class Idleness:
    """Asked before each batch of a shadow. Safe to use from any thread."""

    def __init__(self) -> None:
        self._last_urgent = float("-inf")
        self._busy: Callable[[], bool] = lambda: False
        self._depth: Callable[[], Mapping[Urgency, int]] = dict

    def watch(self, *, busy: Callable[[], bool], depth: Callable[[], Mapping[Urgency, int]]) -> None:
        """`busy`: whether this process works on a scan; `depth`: slices that wait for the device."""
        self._busy, self._depth = busy, depth

    def batch_computed(self, batch: ComputedBatch) -> None:
        """A batch was computed."""
        if batch.urgency == Urgency.SLICE:
            self._last_urgent = time.monotonic()

    def __call__(self) -> bool:
        """True while nothing that anybody waits for is under way here."""
        return (
            not self._busy()
            and time.monotonic() - self._last_urgent >= _SECONDS
            and not any(slices for urgency, slices in self._depth().items() if urgency is not Urgency.SHADOW)
        )
