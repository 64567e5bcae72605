"""Scheduler: which of the requests in front of the device is computed next, and together with which.

More urgent work goes first; within one urgency the streams (scans, clients) take turns, one batch each. Single slices
that never end leave scans every fifth batch.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.inference.memory_fallback import Network
from serving.inference.runtime.grey import grey_type

_MOST_IN_A_ROW = 4
"""Batches of single slices that go ahead of scans; then one of a scan is due, or bulk clients would stop them all."""


class Urgency(IntEnum):
    """What goes first. Among scans, the less urgent waits for as long as there is more urgent work."""

    SLICE = 0
    """Single slices, of people who look at them."""
    INTERACTIVE = 1
    NORMAL = 2
    BACKLOG = 3
    SHADOW = 4
    """Of a model that answers nobody yet, on scans whose answer is out."""


_SCANS = (Urgency.INTERACTIVE, Urgency.NORMAL, Urgency.BACKLOG)


@dataclass(frozen=True)
class ComputedBatch:
    """A batch that left the queue."""

    urgency: Urgency
    requests: int
    slices: int
    waited_seconds: float
    """Of the request that waited for longest."""
    seconds: float
    """On the device."""
    failed: bool


ComputedCallback = Callable[[ComputedBatch, float, bool], None]
"""Is told of the batch that a request was computed in, how many seconds that request waited for it, and whether it is
the batch's first: one of them is."""


@dataclass(frozen=True)
class Request:
    """Slices that somebody waits for."""

    slices: NDArray[Any]
    """Of a grey type; of single slices, and of large batches of scans, as they came, cast by the thread that computes
    them."""
    windows: NDArray[np.float32]
    network: Network
    urgency: Urgency
    stream: str
    merged_up_to: int
    halo: int = 0
    most_pixels: int | None = None
    """That go through the network at once; None: as many as fit."""
    confidence: bool = False
    counted: bool = True
    alone: Network | None = None
    """The same on all processors: computes it, as lane 0, where nothing else waits or is computed."""
    on_computed: ComputedCallback | None = None
    answer: Future[Any] = field(default_factory=Future)
    submitted: float = field(default_factory=time.perf_counter)

    def fits_with(self, other: Request) -> bool:
        """Whether both can be computed in one batch."""
        return (
            self.network is other.network
            and self.slices.shape[1:] == other.slices.shape[1:]
            and grey_type(self.slices.dtype) == grey_type(other.slices.dtype)
            and self.confidence == other.confidence
            and self.most_pixels == other.most_pixels
        )

    @property
    def wanted(self) -> bool:
        """False once whoever asked has cancelled it, which is possible until it is answered."""
        return not self.answer.cancelled()

    def give(self, outputs: tuple[NDArray[Any], ...]) -> None:
        """Answers it, if anybody waits."""
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_result(outputs if self.confidence else outputs[0])

    def fail(self, error: BaseException) -> None:
        """Says that it cannot be answered, if anybody waits who has no answer yet."""
        if not self.answer.done() and self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(error)


class Scheduler:
    """The requests that wait. For one thread at a time."""

    def __init__(self) -> None:
        self._queues: dict[Urgency, OrderedDict[str, deque[Request]]] = {urgency: OrderedDict() for urgency in Urgency}
        self._in_a_row = 0
        """Batches of single slices since the last one of anything else."""

    def add(self, request: Request) -> None:
        """Puts a request at the end of its stream."""
        self._queues[request.urgency].setdefault(request.stream, deque()).append(request)

    def next_batch(self, *, lane: int, alone: bool = False) -> list[Request]:
        """The requests that are due, of those that this lane may compute, taken out; empty if there is none.

        `alone`: nothing else is computed. What then waits by itself is given all processors where it can be.
        """

        def fits(request: Request) -> bool:
            return request.network.lanes > lane

        scan = self._take(fits, of=_SCANS) if self._in_a_row >= _MOST_IN_A_ROW else None
        first = scan or self._take(fits)
        if first is None:
            return []
        single = first.urgency is Urgency.SLICE
        self._in_a_row = self._in_a_row + 1 if single else 0
        batch = self._merged(first) if single else [first]
        if alone and first.alone is not None and self.empty:
            return [replace(request, network=first.alone) for request in batch]
        return batch

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not any(self._queues.values())

    def waiting(self, urgency: Urgency) -> Iterator[Request]:
        """Those of one urgency."""
        for requests in self._queues[urgency].values():
            yield from requests

    def clear(self) -> list[Request]:
        """Takes out all."""
        requests = [request for urgency in Urgency for request in self.waiting(urgency)]
        for streams in self._queues.values():
            streams.clear()
        return requests

    def forget(self) -> None:
        """Takes out single slices that nobody waits for any more."""
        streams = self._queues[Urgency.SLICE]
        for stream in list(streams):
            streams[stream] = deque(request for request in streams[stream] if request.wanted)
            if not streams[stream]:
                del streams[stream]

    def _merged(self, first: Request) -> list[Request]:
        batch, size = [first], len(first.slices)
        while True:
            room = first.merged_up_to - size
            more = self._take(
                lambda request: (
                    len(request.slices) <= room  # noqa: B023  called before it changes
                    and first.fits_with(request)
                ),
                of=(Urgency.SLICE,),
            )
            if more is None:
                return batch
            batch.append(more)
            size += len(more.slices)

    def _take(self, fits: Callable[[Request], bool], *, of: Iterable[Urgency] = Urgency) -> Request | None:
        """The most urgent request that fits, of the stream whose turn it is; that stream then goes to the end."""
        for urgency in of:
            streams = self._queues[urgency]
            for stream, requests in streams.items():
                if fits(requests[0]):
                    request = requests.popleft()
                    if requests:
                        streams.move_to_end(stream)
                    else:
                        del streams[stream]
                    return request
        return None
