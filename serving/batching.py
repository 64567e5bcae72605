"""The batching queue: one for all scans and single slices of a process, in front of its devices.

More urgent work goes first, always; within one urgency the streams (scans, clients) take turns, one batch each. A
scan's batch is computed as it was asked for, never merged or split, so that its answer depends on nothing else that
runs. Single slices that wait are merged into one batch, which nobody waits for to fill up.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window
from scans.tiling import segment_slab
from serving import logs
from serving.runtime import OutOfDeviceMemory, window_rows

_LEAST_TILE = 128
"""Pixels; a device on which not even such a tile fits cannot be helped."""

Answer = Future[NDArray[np.uint8]]


class Urgency(IntEnum):
    """What goes first. The less urgent waits for as long as there is more urgent work."""

    SLICE = 0
    """Single slices, of people who look at them."""
    INTERACTIVE = 1
    NORMAL = 2
    BACKLOG = 3


class Network(Protocol):
    """A model on its device: `serving.runtime.Runtime`, or what stands in for it."""

    @property
    def lanes(self) -> int:
        """Batches that are best computed at once."""
        ...

    def segment_rows(
        self, slices: NDArray[np.float32], windows: NDArray[np.float32], *, lane: int
    ) -> NDArray[np.uint8]:
        """float32 (N, Y, X), float32 (N, 2) -> uint8 (N, Y, X). Raises OutOfDeviceMemory."""
        ...


@dataclass(frozen=True)
class _Request:
    slices: NDArray[np.float32]
    windows: NDArray[np.float32]
    network: Network
    urgency: Urgency
    stream: str
    merged_up_to: int
    halo: int
    counted: bool
    answer: Answer = field(default_factory=Future)
    asked: float = field(default_factory=time.perf_counter)

    def fits_with(self, other: _Request) -> bool:
        return self.network is other.network and self.slices.shape[1:] == other.slices.shape[1:]


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


class Batcher:
    """The queue and the threads ("lanes") that empty it. Safe to use from any thread."""

    def __init__(self, *, lanes: int, on_batch: Callable[[Computed], None] = lambda batch: None) -> None:
        """`lanes` is the most batches that any device computes at once. `on_batch` is told of each, before it is
        answered.
        """
        self._on_batch = on_batch
        self._queues: dict[Urgency, OrderedDict[str, deque[_Request]]] = {urgency: OrderedDict() for urgency in Urgency}
        self._changed = threading.Condition()
        self._closed = False
        self._fits: dict[tuple[int, tuple[int, ...]], int] = {}
        """Slices that fit at once, per network and slice shape, where that was found out the hard way."""
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
        counted: bool = True,
    ) -> Answer:
        """Queues raw grey values, (N, Y, X) of any real type; the answer is their class indices, uint8 (N, Y, X).

        `window` is that of all slices, or one for each, float32 (N, 2).
        With urgency SLICE, requests are merged into batches of at most `merged_up_to` slices. `halo` is what tiles are
        shown around them where a slice alone does not fit the device. `counted`: `on_batch` is told of it. An answer
        that was not begun can be cancelled at no cost. It holds OutOfDeviceMemory where nothing helped, and what the
        network raised. Raises RuntimeError once the queue is closed.
        """
        request = _Request(
            np.ascontiguousarray(slices, np.float32),
            window_rows(window, len(slices)) if isinstance(window, Window) else window,
            network,
            urgency,
            stream,
            merged_up_to,
            halo,
            counted,
        )
        with self._changed:
            if self._closed:
                raise RuntimeError("the batching queue is closed: the server stops")
            self._queues[urgency].setdefault(stream, deque()).append(request)
            self._changed.notify_all()
        return request.answer

    def depth(self) -> dict[Urgency, int]:
        """Slices that wait, by urgency."""
        with self._changed:
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
        with self._changed:
            self._closed = True
            for streams in self._queues.values():
                for requests in streams.values():
                    for request in requests:
                        request.answer.cancel()
                streams.clear()
            self._changed.notify_all()
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
        with self._changed:
            while not self._closed:
                first = self._take(lambda request: request.network.lanes > lane)
                if first is not None:
                    return self._merged(first)
                self._changed.wait()
            return []

    def _merged(self, first: _Request) -> list[_Request]:
        batch, size = [first], len(first.slices)
        while first.urgency == Urgency.SLICE:
            room = first.merged_up_to - size
            more = self._take(
                lambda request: (
                    request.urgency == Urgency.SLICE
                    and len(request.slices) <= room  # noqa: B023  called before it changes
                    and first.fits_with(request)
                )
            )
            if more is None:
                break
            batch.append(more)
            size += len(more.slices)
        return batch

    def _take(self, fits: Callable[[_Request], bool]) -> _Request | None:
        """The most urgent request that fits, of the stream whose turn it is; that stream then goes to the end."""
        for streams in self._queues.values():
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
                first.answer.set_result(self._computed(batch, first.slices, first.windows, lane))
                return
            slices = np.concatenate([request.slices for request in batch])
            windows = np.concatenate([request.windows for request in batch])
            answers = self._computed(batch, slices, windows, lane)
            ends = np.cumsum([len(request.slices) for request in batch])
            for request, answer in zip(batch, np.split(answers, ends[:-1]), strict=True):
                request.answer.set_result(answer)
        except BaseException as error:
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)

    def _computed(
        self, batch: list[_Request], slices: NDArray[np.float32], windows: NDArray[np.float32], lane: int
    ) -> NDArray[np.uint8]:
        began, failed = time.perf_counter(), True
        try:
            answers = self._segment(batch[0], slices, windows, lane)
            failed = False
            return answers
        finally:
            waited = began - min(request.asked for request in batch)
            seconds = time.perf_counter() - began
            if batch[0].counted:
                self._on_batch(Computed(batch[0].urgency, len(batch), len(slices), waited, seconds, failed))

    def _segment(
        self, request: _Request, slices: NDArray[np.float32], windows: NDArray[np.float32], lane: int
    ) -> NDArray[np.uint8]:
        """In one piece if it fits the device, else in halves down to single slices, else in ever smaller tiles."""
        key = (id(request.network), slices.shape[1:])
        size = min(len(slices), self._fits.get(key, len(slices)))
        while size >= 1:
            try:
                parts = [
                    request.network.segment_rows(slices[n : n + size], windows[n : n + size], lane=lane)
                    for n in range(0, len(slices), size)
                ]
                return parts[0] if len(parts) == 1 else np.concatenate(parts)
            except OutOfDeviceMemory as error:
                size //= 2
                if key not in self._fits:  # another network may get the same id when this one is gone
                    weakref.finalize(request.network, self._fits.pop, key, None).atexit = False
                self._fits[key] = size
                logs.event("batch_too_large", error=error, next_slices=size)
        return np.concatenate(
            [self._tiled(request, slices[n : n + 1], windows[n : n + 1], lane) for n in range(len(slices))]
        )

    def _tiled(
        self, request: _Request, piece: NDArray[np.float32], windows: NDArray[np.float32], lane: int
    ) -> NDArray[np.uint8]:
        tile = max(piece.shape[1:]) // 2
        while tile > max(2 * request.halo, _LEAST_TILE):
            try:
                return segment_slab(
                    piece,
                    lambda tiles: request.network.segment_rows(
                        np.ascontiguousarray(tiles), np.repeat(windows, len(tiles), axis=0), lane=lane
                    ),
                    batch_size=1,
                    tile=tile,
                    halo=request.halo,
                )
            except OutOfDeviceMemory as error:
                logs.event("tile_too_large", error=error, tile=tile)
                tile //= 2
        raise OutOfDeviceMemory(piece.shape, "the device, even in tiles,")
