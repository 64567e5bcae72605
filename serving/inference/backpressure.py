"""Backpressure: what is said where as much waits as may wait, and how much that is for single slices."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

Limit = Literal["scans", "bytes", "age", "voxels", "slices"]

UNKNOWN_SECONDS = 30.0
"""To stay away where nothing says how fast a queue of scans moves."""
_LEAST_SECONDS, _MOST_SECONDS = 1, 3600
_RECENT_BATCHES = 32


class QueueFull(RuntimeError):
    """As much waits as may wait. The message says which limit is reached and when to come back."""

    def __init__(self, message: str, *, limit: Limit, waiting: int, most: int, seconds: float) -> None:
        self.seconds = min(max(math.ceil(seconds), _LEAST_SECONDS), _MOST_SECONDS)
        """Until it is worth another try, from a second to an hour."""
        self.limit = limit
        self.waiting = waiting
        """How much waits, in the unit of the limit."""
        self.most = most
        """How much may."""
        super().__init__(f"{message}; come back in about {self.seconds} s")


class SlicesFull(QueueFull):
    """The queue of single slices is full."""


@dataclass(frozen=True)
class SliceRoom:
    """How many single slices may wait in front of the device, and how fast they go of late."""

    most_slices: int = 1024
    most_bytes: int = 4_000_000_000
    """Of their grey values, as they came."""
    _recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_RECENT_BATCHES))

    def check(self, waiting: Sequence[NDArray[Any]], more: NDArray[Any] | None = None) -> None:
        """Raises SlicesFull where `more`, or not even one slice (None), may wait as well; alone, any number may."""
        slices, size = sum(map(len, waiting)), sum(one.nbytes for one in waiting)
        if not slices:
            return
        too_many = slices + (1 if more is None else len(more)) - self.most_slices
        if too_many > 0:
            raise SlicesFull(
                f"{slices} slices wait already, and {self.most_slices} may (RICEFISH_QUEUE_SLICES)",
                limit="slices",
                waiting=slices,
                most=self.most_slices,
                seconds=self._seconds(too_many),
            )
        too_large = size + (1 if more is None else more.nbytes) - self.most_bytes
        if too_large > 0:
            raise SlicesFull(
                f"slices of {size} bytes wait already, and {self.most_bytes} may (RICEFISH_QUEUE_SLICE_BYTES)",
                limit="bytes",
                waiting=size,
                most=self.most_bytes,
                seconds=self._seconds(slices * too_large / size),
            )

    def computed(self, slices: int, seconds: float, *, lanes: int) -> None:
        """A batch of single slices left the device, which computes so many at once."""
        self._recent.append((slices, seconds / lanes))

    def _seconds(self, slices: float) -> float:
        """That so many slices take, by the latest batches."""
        recent = list(self._recent)
        done = sum(number for number, _ in recent)
        return slices * sum(seconds for _, seconds in recent) / done if done else 1.0
