"""The batching queue: one for all scans and single slices of a process, in front of its devices.

More urgent work goes first; within one urgency the streams (scans, clients) take turns, one batch each. Single slices
that never end leave scans every fifth batch. A scan's batch is computed as it was asked for, never merged or split, so
that its answer depends on nothing else that runs. Single slices that wait are merged into one batch, which nobody waits
for to fill up.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window
from serving.fitting import Fitting, Network
from serving.pressure import SliceRoom
from serving.runtime import window_rows

Answer = Future[NDArray[np.uint8]]


class Urgency(IntEnum):
    """What goes first. Among scans, the less urgent waits for as long as there is more urgent work."""

    SLICE = 0
    """Single slices, of people who look at them."""
    INTERACTIVE = 1
    NORMAL = 2
    BACKLOG = 3
    SHADOW = 4
    """Of a model that answers nobody yet, on scans whose answer is out."""


@dataclass(frozen=True)
class Computed:
    """A batch that left the queue."""

    urgency: Urgency
    requests: int
    slices: int
    waited_seconds: float
    """Of the request that waited for longest."""
    seconds: float
    """On the device."""
    failed: bool


_MOST_IN_A_ROW = 4
"""Batches of single slices that go ahead of scans; then one of a scan is due, or bulk clients would stop them all."""
_SCANS = (Urgency.INTERACTIVE, Urgency.NORMAL, Urgency.BACKLOG)

Told = Callable[[Computed, float, bool], None]
"""Is told of the batch that a request was computed in, how many seconds that request waited for it, and whether it is
the batch's first: one of them is."""


@dataclass(frozen=True)
class _Request:
    slices: NDArray[Any]
    """float32; of single slices as they came, cast by the thread that computes them: who asks answers everybody."""
    windows: NDArray[np.float32]
    network: Network
    urgency: Urgency
    stream: str
    merged_up_to: int
    halo: int = 0
    confidence: bool = False
    counted: bool = True
    told: Told | None = None
    answer: Future[Any] = field(default_factory=Future)
    asked: float = field(default_factory=time.perf_counter)

    def fits_with(self, other: _Request) -> bool:
        return (
            self.network is other.network
            and self.slices.shape[1:] == other.slices.shape[1:]
            and self.confidence == other.confidence
        )

    def give(self, outputs: tuple[NDArray[Any], ...]) -> None:
        self.answer.set_result(outputs if self.confidence else outputs[0])


class Batcher:
    """The queue and the threads ("lanes") that empty it. Safe to use from any thread."""

    def __init__(
        self, *, lanes: int, on_batch: Callable[[Computed], None] = lambda batch: None, room: SliceRoom | None = None
    ) -> None:
        """`lanes` is the most batches that any device computes at once. `on_batch` is told of each, before it is
        answered. `room` is how many single slices may wait.
        """
        self._on_batch = on_batch
        self._room = room or SliceRoom()
        self._queues: dict[Urgency, OrderedDict[str, deque[_Request]]] = {urgency: OrderedDict() for urgency in Urgency}
        self._in_a_row = 0
        """Batches of single slices since the last one of anything else."""
        self._lock = threading.Lock()
        self._woken = [threading.Condition(self._lock) for _ in range(lanes)]
        self._idle: set[int] = set()
        """Lanes that wait; of these, only one that is needed is woken."""
        self._closed = False
        self._fitting = Fitting()
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name=f"lane-{lane}") for lane in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    def submit(  # noqa: PLR0913 - what a request is, each with its name in the call
        self,
        slices: NDArray[Any],
        *,
        window: Window | NDArray[np.float32],
        network: Network,
        urgency: Urgency,
        stream: str,
        merged_up_to: int = 1,
        halo: int = 0,
        told: Told | None = None,
        counted: bool = True,
    ) -> Answer:
        """Queues raw grey values, (N, Y, X) of any real type; the answer is their class indices, uint8 (N, Y, X).

        `window` is that of all slices, or one for each, float32 (N, 2).
        With urgency SLICE, requests are merged into batches of at most `merged_up_to` slices. `halo` is what tiles are
        shown around them where a slice alone does not fit the device. `counted`: `on_batch` is told of it. An answer
        that was not begun can be cancelled at no cost. It holds OutOfDeviceMemory where nothing helped, and what the
        network raised. Raises RuntimeError once the queue is closed.
        """
        rows = window_rows(window, len(slices)) if isinstance(window, Window) else window
        grey = slices if urgency is Urgency.SLICE else _cast(slices)
        return self._queue(
            _Request(grey, rows, network, urgency, stream, merged_up_to, halo=halo, told=told, counted=counted)
        )

    def submit_with_confidence(  # noqa: PLR0913 - as above
        self,
        slices: NDArray[Any],
        *,
        window: Window | NDArray[np.float32],
        network: Network,
        urgency: Urgency,
        stream: str,
        merged_up_to: int = 1,
        told: Told | None = None,
    ) -> Future[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        """The same, for the segmentation together with its confidence, float32 (N, Y, X); merged with its like.

        There are no tiles with confidence: it holds OutOfDeviceMemory where a slice does not fit as a whole.
        """
        rows = window_rows(window, len(slices)) if isinstance(window, Window) else window
        grey = slices if urgency is Urgency.SLICE else _cast(slices)
        return self._queue(_Request(grey, rows, network, urgency, stream, merged_up_to, confidence=True, told=told))

    def _queue(self, request: _Request) -> Future[Any]:
        with self._lock:
            if self._closed:
                raise RuntimeError("the batching queue is closed: the server stops")
            self._queues[request.urgency].setdefault(request.stream, deque()).append(request)
            lane = min(self._idle, default=request.network.lanes)
            if lane < request.network.lanes:
                self._idle.remove(lane)
                self._woken[lane].notify()
        return request.answer

    def check_room(self, more: NDArray[Any] | None = None) -> None:
        """Raises SlicesFull where these single slices, or not even one (None), may wait as well.

        Asked by whoever is about to submit them, for all parts of a request at once.
        """
        with self._lock:
            waiting = [request.slices for requests in self._queues[Urgency.SLICE].values() for request in requests]
        self._room.check(waiting, more)

    def depth(self) -> dict[Urgency, int]:
        """Slices that wait, by urgency."""
        with self._lock:
            return {
                urgency: sum(len(request.slices) for requests in streams.values() for request in requests)
                for urgency, streams in self._queues.items()
            }

    @property
    def alive(self) -> bool:
        """False if a thread that should empty the queue has ended."""
        return self._closed or all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Ends the batches under way; what waits is cancelled."""
        with self._lock:
            self._closed = True
            for streams in self._queues.values():
                for requests in streams.values():
                    for request in requests:
                        request.answer.cancel()
                streams.clear()
            for woken in self._woken:
                woken.notify()
        for thread in self._threads:
            thread.join()

    def _work(self, lane: int) -> None:
        while self._work_once(lane):
            pass

    def _work_once(self, lane: int) -> bool:
        """One batch, of which nothing is held afterwards: its network may have been replaced. False at the end."""
        batch = self._next(lane)
        begun = [request for request in batch if request.answer.set_running_or_notify_cancel()]
        if begun:
            self._answer(begun, lane)
        return bool(batch)

    def _next(self, lane: int) -> list[_Request]:
        """What this lane computes next, waiting for it; nothing once the queue is closed."""
        with self._lock:
            while not self._closed:
                first = self._first(lane)
                if first is not None:
                    self._in_a_row = self._in_a_row + 1 if first.urgency is Urgency.SLICE else 0
                    return self._merged(first)
                self._idle.add(lane)
                self._woken[lane].wait()
            return []

    def _first(self, lane: int) -> _Request | None:
        """The request that is due, of those that this lane may compute."""

        def fits(request: _Request) -> bool:
            return request.network.lanes > lane

        scan = self._take(fits, of=_SCANS) if self._in_a_row >= _MOST_IN_A_ROW else None
        return scan or self._take(fits)

    def _merged(self, first: _Request) -> list[_Request]:
        batch, size = [first], len(first.slices)
        while first.urgency == Urgency.SLICE:
            room = first.merged_up_to - size
            more = self._take(
                lambda request: (
                    len(request.slices) <= room  # noqa: B023  called before it changes
                    and first.fits_with(request)
                ),
                of=(Urgency.SLICE,),
            )
            if more is None:
                break
            batch.append(more)
            size += len(more.slices)
        return batch

    def _take(self, fits: Callable[[_Request], bool], *, of: Iterable[Urgency] = Urgency) -> _Request | None:
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

    def _answer(self, batch: list[_Request], lane: int) -> None:
        first = batch[0]
        try:
            if len(batch) == 1:
                first.give(self._computed(batch, _cast(first.slices), first.windows, lane))
                return
            slices = np.concatenate([request.slices for request in batch], dtype=np.float32)
            windows = np.concatenate([request.windows for request in batch])
            outputs = self._computed(batch, slices, windows, lane)
            end = 0
            for request in batch:
                begin, end = end, end + len(request.slices)
                request.give(tuple(output[begin:end] for output in outputs))
        except BaseException as error:
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)

    def _computed(
        self, batch: list[_Request], slices: NDArray[np.float32], windows: NDArray[np.float32], lane: int
    ) -> tuple[NDArray[Any], ...]:
        first, began, failed = batch[0], time.perf_counter(), True
        try:
            outputs = self._fitting.segment(
                first.network, slices, windows, lane=lane, halo=first.halo, confidence=first.confidence
            )
            failed = False
            return outputs
        finally:
            waited = began - min(request.asked for request in batch)
            seconds = time.perf_counter() - began
            if first.urgency is Urgency.SLICE and not failed:
                self._room.computed(len(slices), seconds, lanes=first.network.lanes)
            computed = Computed(first.urgency, len(batch), len(slices), waited, seconds, failed)
            if first.counted:
                self._on_batch(computed)
            for request in batch:
                if request.told is not None:
                    request.told(computed, began - request.asked, request is first)


def _cast(slices: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(slices, np.float32)
