"""Idleness: whether a process has nothing better to do than to run a shadow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from serving.inference.scheduling import Urgency

_SECONDS = 1.0
"""After the last single slice; its sender may be about to send the next one."""


class Idleness:
    """Asked before each batch of a shadow. Safe to use from any thread."""

    def __init__(
        self,
        *,
        busy: Callable[[], bool],
        depth: Callable[[], Mapping[Urgency, int]],
        last_slice_seconds: Callable[[], float],
    ) -> None:
        """`busy`: whether this process works on a scan; `depth`: slices that wait for the device;
        `last_slice_seconds`: when the last single slice left it, by `time.monotonic`.
        """
        self._busy = busy
        self._depth = depth
        self._last_slice_seconds = last_slice_seconds

    def __call__(self) -> bool:
        """True while nothing that anybody waits for is under way here."""
        return (
            not self._busy()
            and time.monotonic() - self._last_slice_seconds() >= _SECONDS
            and not any(slices for urgency, slices in self._depth().items() if urgency is not Urgency.SHADOW)
        )
