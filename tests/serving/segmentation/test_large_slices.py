"""What a scan of large slices holds at once is bounded, and so are works that share memory, however many there are."""

from __future__ import annotations

import threading
import time
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
    """A batching queue that answers when it is asked for the answer, and counts what waits."""

    def __init__(self) -> None:
        self.memory = SliceMemory()
        self.waiting, self.most = 0, 0

    def submit(self, slices: NDArray[Any], **_: Any) -> Future[NDArray[np.uint8]]:
        self.waiting += slices.nbytes
        self.most = max(self.most, self.waiting)

        def result(_: float | None = None) -> NDArray[np.uint8]:
            self.waiting -= slices.nbytes
            return np.broadcast_to(np.uint8(1), slices.shape)

        answer: Future[NDArray[np.uint8]] = Future()
        answer.result = result  # type: ignore[method-assign]
        return answer


def inference(queue: Asked, shape: tuple[int, int, int]) -> SlabInference:
    scan = SimpleNamespace(id="scan", shape=shape, window=Window(0, 1), organs=())
    run = SimpleNamespace(lease=SimpleNamespace(scan=scan, priority=Priority.NORMAL), check=lambda: None)
    runtime = SimpleNamespace(lanes=LANES, pixel_bytes=None)
    model = SimpleNamespace(runtime=runtime, tuning=SimpleNamespace(batch_pixels=1))
    judge = SimpleNamespace(sampled=lambda *_: range(0))
    watch = SimpleNamespace(measuring=lambda _: nullcontext())
    arguments: Any = (queue, run, model, judge)
    return SlabInference(*arguments, batch_size=4, tile=None, watch=watch)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "dtype", "most"),
    [(8192, np.uint8, 5 << 26), (8192, np.float32, 1 << 29), (1000, np.uint16, (LANES + 1) * 4 * 2_000_000)],
)
def test_batches_in_the_queue_are_bounded_by_their_bytes(side: int, dtype: type, most: int) -> None:
    """16 lanes want 17 batches of common slices; of 8192 x 8192 pixels there are no more than fit 256 MiB and one."""
    queue, depth = Asked(), 80 if side == 1000 else 10
    slices = 80 if side == 1000 else 1
    slab = np.broadcast_to(dtype(0), (slices, side, side))
    boxes = [Box((z, 0, 0), (z + slices, side, side)) for z in range(0, depth, slices)]
    done = inference(queue, (depth, side, side)).of((number, box, slab) for number, box in enumerate(boxes))
    assert [int(one.segmentation[0, 0, 0]) for one in done] == [1] * len(boxes)
    assert queue.most == most


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


def test_a_memory_budget_is_never_overdrawn() -> None:
    """Eight works of two fifths each, of which two fit; one of more than there is has it alone."""
    budget, lock = MemoryBudget(), threading.Lock()
    held: list[float] = []
    most: list[float] = []

    def work(share: float) -> None:
        with budget.taken(share):
            with lock:
                held.append(share)
                most.append(sum(held))
            time.sleep(0.02)
            with lock:
                held.remove(share)

    with ThreadPoolExecutor(9) as pool:
        list(pool.map(work, [0.4] * 4 + [3.0] + [0.4] * 4))
    assert max(most) == 3.0
    assert {round(total, 1) for total in most} == {0.4, 0.8, 3.0}
