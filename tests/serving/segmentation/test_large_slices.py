"""What a scan of large slices holds at once is bounded, and so are works that share memory, however many there are."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scans.geometry import Box
from scans.intensity import Window
from serving.inference.memory_budget import MemoryBudget
from serving.inference.slice_memory import SliceMemory
from serving.queue.jobs import Priority
from serving.segmentation.slab_inference import SlabInference, goes_whole

LANES = 16


class Asked:
    """A batching queue that answers when it is asked for the answer, and counts what waits, in batches."""

    def __init__(self, *, scan_bytes: int) -> None:
        self.memory = SliceMemory(scan_bytes=scan_bytes)
        self.waiting, self.most = 0, 0
        self.answers: list[weakref.ref[Future[NDArray[np.uint8]]]] = []

    def submit(self, slices: NDArray[Any], **_: Any) -> Future[NDArray[np.uint8]]:
        self.waiting += 1
        self.most = max(self.most, self.waiting)

        def result(_: float | None = None) -> NDArray[np.uint8]:
            self.waiting -= 1
            return np.broadcast_to(np.uint8(1), slices.shape)

        answer: Future[NDArray[np.uint8]] = Future()
        answer.result = result  # type: ignore[method-assign]
        self.answers.append(weakref.ref(answer))
        return answer


def inference(queue: Asked, shape: tuple[int, int, int], *, tile: int | None = None) -> SlabInference:
    scan = SimpleNamespace(id="scan", shape=shape, window=Window(0, 1), organs=())
    run = SimpleNamespace(lease=SimpleNamespace(scan=scan, priority=Priority.NORMAL), check=lambda: None)
    runtime = SimpleNamespace(lanes=LANES, pixel_bytes=None)
    model = SimpleNamespace(runtime=runtime, tuning=SimpleNamespace(batch_pixels=1))
    judge = SimpleNamespace(sampled=lambda *_: range(0))
    watch = SimpleNamespace(measuring=lambda _: nullcontext())
    arguments: Any = (queue, run, model, judge)
    return SlabInference(*arguments, batch_size=4, tile=tile, watch=watch)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "dtype", "most"),
    [
        (1000, np.uint16, LANES + 1),
        (4096, np.int8, 3),
        (4096, np.uint8, 8),
        (8192, np.uint8, 2),
        (8192, np.uint16, 1),
    ],
)
def test_batches_in_the_queue_are_bounded_by_their_bytes(side: int, dtype: type, most: int) -> None:
    """16 lanes want 17 batches of common slices, and 1 GiB has room. In 256 MiB are three of 4096 x 4096 that wait in
    floating point, eight of a byte a pixel, two of 8192 x 8192 as they are, or one that is larger."""
    slices, slabs = (80, 1) if side == 1000 else (1, 10)
    queue, slab = Asked(scan_bytes=1 << (33 if side == 1000 else 31)), np.broadcast_to(dtype(0), (slices, side, side))
    boxes = [Box((z, 0, 0), (z + slices, side, side)) for z in range(0, slabs * slices, slices)]
    done = inference(queue, (slabs * slices, side, side)).of((number, box, slab) for number, box in enumerate(boxes))
    assert [int(one.segmentation[0, 0, 0]) for one in done] == [1] * slabs
    assert queue.most == most


@pytest.mark.parametrize(("side", "tile", "waiting"), [(8192, None, 1), (1200, 1024, 0)])
def test_no_slab_is_held_while_the_next_is_read(side: int, tile: int | None, waiting: int) -> None:
    """But the one whose answer is awaited next; and of a slab that is written, nothing of its batch."""
    made: list[weakref.ref[NDArray[Any]]] = []
    queue = Asked(scan_bytes=1)

    def read() -> Iterator[tuple[int, Box, NDArray[Any]]]:
        for number in range(3):
            assert sum(slab() is not None for slab in made) == min(waiting, number)
            slab = np.zeros((1, side, side), np.float32)
            made.append(weakref.ref(slab))
            box = Box((number, 0, 0), (number + 1, side, side))
            yield number, box, slab
            del slab

    for done in inference(queue, (3, side, side), tile=tile).of(read()):
        assert tile is not None or queue.answers[done.number]() is None
        del done
    assert len(made) == 3
    assert not any(slab() is not None for slab in made)


def test_slices_that_do_not_fit_are_known_before_they_are_asked_about() -> None:
    """A model that takes 100 bytes a pixel, in 2 GB for two lanes: 10 million pixels, and those of a tile's sides."""
    model: Any = SimpleNamespace(
        runtime=SimpleNamespace(lanes=2, pixel_bytes=100), tuning=SimpleNamespace(batch_pixels=1)
    )
    memory = SliceMemory(scan_bytes=2_000_000_000)

    def whole(side: int, tile: int | None = None) -> bool:
        scan: Any = SimpleNamespace(shape=(3, side, side))
        return goes_whole(scan, model, memory, tile=tile)

    assert whole(3000)
    assert not whole(3200)
    assert whole(1000, tile=1000)
    assert not whole(1001, tile=1000)


def test_a_memory_budget_is_never_overdrawn_and_first_come_is_first_served() -> None:
    """Eight works of two fifths each, of which two fit; one of more than there is has it alone, when it is its turn."""
    budget, lock = MemoryBudget(), threading.Lock()
    held: list[float] = []
    begun: list[float] = []
    most: list[float] = []

    def work(share: float) -> None:
        with budget.taken(share):
            with lock:
                begun.append(share)
                held.append(share)
                most.append(round(sum(held), 1))
            time.sleep(0.3)
            with lock:
                held.remove(share)

    with ThreadPoolExecutor(9) as pool:
        works = []
        for share in [0.4] * 4 + [3.0] + [0.4] * 4:
            works.append(pool.submit(work, share))
            time.sleep(0.03)
        for one in works:
            one.result()
    assert begun.index(3.0) == 4
    assert set(most) == {0.4, 0.8, 3.0}


def test_who_wants_no_memory_waits_for_nobody() -> None:
    """As a scan's batch, whose memory is counted elsewhere; and who leaves while he waits holds up nobody."""
    budget, looks = MemoryBudget(), iter([None])
    waited_until = time.monotonic() + 60

    def leave_at_the_second_look() -> None:
        if next(looks, TimeoutError) is TimeoutError:
            raise TimeoutError

    def leave_late() -> None:
        assert time.monotonic() < waited_until

    with budget.taken(1.0):
        with budget.taken(0.0):
            pass
        with pytest.raises(TimeoutError), budget.taken(0.5, look=leave_at_the_second_look):
            pass
    with budget.taken(1.0, look=leave_late):
        pass
