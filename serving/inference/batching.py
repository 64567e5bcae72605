"""The batching queue: one for all scans and single slices of a process, in front of its devices.

`scheduling` says what goes first. A scan's batch is computed as it was asked for, never merged or split, so that its
answer depends on nothing else that runs. Single slices that wait are merged into one batch, which nobody waits for to
fill up.
"""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window
from serving.inference.backpressure import SliceRoom
from serving.inference.memory_fallback import HasRoom, MemoryFallback, Network, NobodyWaits, padded_pixels
from serving.inference.runtime.grey import FLOAT32, as_network_input, grey_type
from serving.inference.runtime.segmentation import window_rows
from serving.inference.scheduling import ComputedBatch, ComputedCallback, Request, Scheduler, Urgency
from serving.inference.slice_memory import SliceMemory
from serving.observability.observer import Observer

Answer = Future[NDArray[np.uint8]]

_MOST_CAST_PIXELS = 1 << 24
"""Of a scan's batch of no grey type that waits as float32, four bytes a pixel. Larger ones wait as they are, so that
the batches of all scans under way do not take gigabytes while one of them is computed."""
_ALONE_SECONDS = 0.5
"""After which whoever comes is taken to be alone: of several clients each would else have all processors at moments,
and be held up by the next."""


class Batcher:
    """The queue and the threads ("lanes") that empty it. Safe to use from any thread."""

    def __init__(
        self,
        *,
        lanes: int,
        observer: Observer | None = None,
        room: SliceRoom | None = None,
        memory: SliceMemory | None = None,
    ) -> None:
        """`lanes` is the most batches that any device computes at once. `observer` is told of each, before it is
        answered. `room` is how many single slices may wait, and `memory` what they may take while they are computed.
        """
        self.memory = memory or SliceMemory()
        self._observer = observer or Observer()
        self.last_slice_seconds = -math.inf
        """When the last batch of single slices left the device, by `time.monotonic`."""
        self._room = room or SliceRoom()
        self._scheduler = Scheduler()
        self._lock = threading.Lock()
        self._woken = [threading.Condition(self._lock) for _ in range(lanes)]
        self._idle: set[int] = set()
        """Lanes that wait; of these, only one that is needed is woken."""
        self._computing: set[int] = set()
        """Lanes that have a batch which has not left the device."""
        self._together = -math.inf
        """When something last came while something else waited or was computed, by `time.monotonic`."""
        self._closed = False
        self._fallback = MemoryFallback()
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name=f"lane-{lane}") for lane in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        slices: NDArray[Any],
        *,
        window: Window | NDArray[np.float32],
        network: Network,
        urgency: Urgency,
        stream: str,
        merged_up_to: int = 1,
        halo: int = 0,
        most_pixels: int | None = None,
        on_computed: ComputedCallback | None = None,
        counted: bool = True,
        alone: Network | None = None,
    ) -> Answer:
        """Queues raw grey values, (N, Y, X) of any real type; the answer is their class indices, uint8 (N, Y, X).

        `window` is that of all slices, or one for each, float32 (N, 2).
        With urgency SLICE, requests are merged into batches of at most `merged_up_to` slices. `halo` is what tiles are
        shown around them where a slice alone does not fit the device, or has more than `most_pixels`, which are as many
        as go through the network at once. `counted`: the observer is told of it. `alone` is the same network on all
        processors: it is asked where nothing else waits or is computed, and has not been of late. An answer can be
        cancelled: what was begun for nobody else ends before its next piece. It holds OutOfDeviceMemory where nothing
        helped, and what the network raised. Raises RuntimeError once the queue is closed.
        """
        grey, rows = _grey(slices, urgency), _rows(window, len(slices))
        asked = (grey, rows, network, urgency, stream, merged_up_to, halo, most_pixels)
        return self._queue(Request(*asked, on_computed=on_computed, counted=counted, alone=alone))

    def submit_with_confidence(
        self,
        slices: NDArray[Any],
        *,
        window: Window | NDArray[np.float32],
        network: Network,
        urgency: Urgency,
        stream: str,
        merged_up_to: int = 1,
        most_pixels: int | None = None,
        on_computed: ComputedCallback | None = None,
    ) -> Future[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        """The same, for the segmentation together with its confidence, float32 (N, Y, X); merged with its like.

        There are no tiles with confidence: it holds OutOfDeviceMemory where a slice does not fit as a whole.
        """
        grey, rows = _grey(slices, urgency), _rows(window, len(slices))
        asked = (grey, rows, network, urgency, stream, merged_up_to)
        return self._queue(Request(*asked, confidence=True, most_pixels=most_pixels, on_computed=on_computed))

    def _queue(self, request: Request) -> Future[Any]:
        with self._lock:
            if self._closed:
                raise RuntimeError("the batching queue is closed: the server stops")
            if self._computing or not self._scheduler.empty:
                self._together = time.monotonic()
            self._scheduler.add(request)
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
            self._scheduler.forget()
            waiting = [request.slices for request in self._scheduler.waiting(Urgency.SLICE)]
        self._room.check(waiting, more)

    def depth(self) -> dict[Urgency, int]:
        """Slices that wait, by urgency."""
        with self._lock:
            return {
                urgency: sum(len(request.slices) for request in self._scheduler.waiting(urgency)) for urgency in Urgency
            }

    @property
    def alive(self) -> bool:
        """False if a thread that should empty the queue has ended."""
        return self._closed or all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Ends the batches under way; what waits is cancelled."""
        with self._lock:
            self._closed = True
            for request in self._scheduler.clear():
                request.answer.cancel()
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
        if begun := [request for request in batch if request.wanted]:
            self._answer(begun, lane)
        return bool(batch)

    def _next(self, lane: int) -> list[Request]:
        """What this lane computes next, waiting for it; nothing once the queue is closed."""
        with self._lock:
            self._computing.discard(lane)
            while not self._closed:
                alone = not self._computing and time.monotonic() - self._together >= _ALONE_SECONDS
                if batch := self._scheduler.next_batch(lane=lane, alone=alone):
                    self._computing.add(lane)
                    return batch
                self._idle.add(lane)
                self._woken[lane].wait()
            return []

    def _answer(self, batch: list[Request], lane: int) -> None:
        first = batch[0]
        try:
            outputs = self._computed(batch, lane)
            with self._lock:  # before whoever is answered may ask again
                self._computing.discard(lane)
            if len(batch) == 1:
                first.give(outputs)
                return
            end = 0
            for request in batch:
                begin, end = end, end + len(request.slices)
                request.give(tuple(output[begin:end] for output in outputs))
        except BaseException as error:
            for request in batch:
                request.fail(error)

    def _computed(self, batch: list[Request], lane: int) -> tuple[NDArray[Any], ...]:
        began = time.perf_counter()
        try:
            outputs = self._segmented(batch, lane)
        except NobodyWaits:
            raise
        except BaseException:
            self._left_the_device(batch, began, failed=True)
            raise
        self._left_the_device(batch, began, failed=False)
        return outputs

    def _segmented(self, batch: list[Request], lane: int) -> tuple[NDArray[Any], ...]:
        """Raises NobodyWaits, before the next piece, once all who asked have left."""
        first = batch[0]

        def look() -> None:
            if not any(request.wanted for request in batch):
                raise NobodyWaits

        pixels = sum(len(request.slices) for request in batch) * padded_pixels(*first.slices.shape[1:])
        limit = first.most_pixels if first.urgency is Urgency.SLICE else None
        with self.memory.taken(pixels, most_pixels=limit, look=look):
            slices, windows = _together(batch, lane)
            return self._fallback.segment(
                first.network,
                slices,
                windows,
                lane=lane % first.network.lanes,
                halo=first.halo,
                confidence=first.confidence,
                look=look,
                most_pixels=first.most_pixels,
            )

    def _left_the_device(self, batch: list[Request], began: float, *, failed: bool) -> None:
        """Tells of a batch that was begun at that moment, by `time.perf_counter`."""
        first, slices = batch[0], sum(len(request.slices) for request in batch)
        waited = began - min(request.submitted for request in batch)
        seconds = time.perf_counter() - began
        if first.urgency is Urgency.SLICE and not failed:
            self._room.computed(slices, seconds, lanes=first.network.lanes)
        computed = ComputedBatch(first.urgency, len(batch), slices, waited, seconds, failed)
        if first.counted:
            self._tell(computed)
        for request in batch:
            if request.on_computed is not None:
                request.on_computed(computed, began - request.submitted, request is first)

    def _tell(self, batch: ComputedBatch) -> None:
        if batch.urgency is Urgency.SLICE:
            self.last_slice_seconds = time.monotonic()
        self._observer.batch_computed(
            batch.urgency.name.lower(),
            requests=batch.requests,
            slices=batch.slices,
            waited_seconds=batch.waited_seconds,
            seconds=batch.seconds,
            failed=batch.failed,
        )


def scan_batch_bytes(slices: NDArray[Any], *, confidence: bool) -> int:
    """What a scan's batch takes until its answer is taken: grey values as they wait, class indices, confidence."""
    dtype = slices.dtype if slices.size > _MOST_CAST_PIXELS else grey_type(slices.dtype)
    return slices.size * (dtype.itemsize + 1 + FLOAT32.itemsize * confidence)


def _grey(slices: NDArray[Any], urgency: Urgency) -> NDArray[Any]:
    """As they wait: those of scans as the network takes them, which whoever submits them has time for, unless large."""
    return slices if urgency is Urgency.SLICE or slices.size > _MOST_CAST_PIXELS else as_network_input(slices)


def _rows(window: Window | NDArray[np.float32], slices: int) -> NDArray[np.float32]:
    return window_rows(window, slices) if isinstance(window, Window) else window


def _together(batch: list[Request], lane: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Slices (N, Y, X) and windows (N, 2) of all of them; where the network has room of its own for them, there."""
    first = batch[0]
    if len(batch) == 1:
        return first.slices, first.windows
    shape, dtype = (sum(len(one.slices) for one in batch), *first.slices.shape[1:]), grey_type(first.slices.dtype)
    room = first.network.room(shape, dtype, lane=lane) if isinstance(first.network, HasRoom) else None
    slices = np.concatenate([one.slices for one in batch], out=np.empty(shape, dtype) if room is None else room)
    return slices, np.concatenate([one.windows for one in batch])
