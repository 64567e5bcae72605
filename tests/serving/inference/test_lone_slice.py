"""A single slice that nothing runs beside gets all processors; as soon as something does, each batch has its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scans.intensity import Window
from serving.inference.batching import Answer, Batcher
from serving.inference.scheduling import Urgency

SECONDS = 20


class Computer:
    """A network that notes what it is asked, and answers once it may."""

    def __init__(self, *, lanes: int) -> None:
        self.lanes = lanes
        self.asked: list[tuple[int, int]] = []
        """Lane and slices of each batch."""
        self.begun = threading.Semaphore(0)
        self.may_answer = threading.Semaphore(0)

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[Any], *, lane: int) -> NDArray[np.uint8]:
        self.asked.append((lane, len(slices)))
        self.begun.release()
        assert self.may_answer.acquire(timeout=SECONDS)
        return slices.astype(np.uint8)

    def segment_rows_with_confidence(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    with closing(Batcher(lanes=4)) as opened:
        yield opened


def slice_of(batcher: Batcher, network: Computer, alone: Computer) -> Answer:
    slices = np.ones((1, 8, 8), np.uint8)
    return batcher.submit(
        slices,
        window=Window(0, 1),
        network=network,
        urgency=Urgency.SLICE,
        stream="client",
        merged_up_to=4,
        alone=alone,
    )


def scan_of(batcher: Batcher, network: Computer) -> Answer:
    slices = np.ones((3, 8, 8), np.uint8)
    return batcher.submit(slices, window=Window(0, 1), network=network, urgency=Urgency.NORMAL, stream="scan")


def test_a_slice_alone_has_all_processors_until_something_else_comes(
    batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client after the other; a scan that comes meanwhile begins at once, and slices have a lane of their own until
    nothing has met for a while."""
    shared, alone = Computer(lanes=2), Computer(lanes=1)
    for turn in range(1, 4):
        answer = slice_of(batcher, shared, alone)
        assert alone.begun.acquire(timeout=SECONDS)
        alone.may_answer.release()
        assert answer.result(SECONDS).tolist() == [[[1] * 8] * 8]
        assert (len(alone.asked), shared.asked) == (turn, [])
    first = slice_of(batcher, shared, alone)
    assert alone.begun.acquire(timeout=SECONDS)
    scan = scan_of(batcher, shared)
    assert shared.begun.acquire(timeout=SECONDS), "it waits for nobody"
    alone.may_answer.release()
    first.result(SECONDS)
    second = slice_of(batcher, shared, alone)
    assert shared.begun.acquire(timeout=SECONDS)
    shared.may_answer.release(2)
    scan.result(SECONDS)
    second.result(SECONDS)
    assert sorted(lane for lane, _ in shared.asked) == [0, 1]
    assert alone.asked == [(0, 1)] * 4
    monkeypatch.setattr("serving.inference.batching._ALONE_SECONDS", 1e9)
    shared.may_answer.release()
    slice_of(batcher, shared, alone).result(SECONDS)
    assert (len(shared.asked), len(alone.asked)) == (3, 4)
    monkeypatch.setattr("serving.inference.batching._ALONE_SECONDS", 0.0)
    alone.may_answer.release()
    slice_of(batcher, shared, alone).result(SECONDS)
    assert (len(shared.asked), len(alone.asked)) == (3, 5)


def test_slices_that_wait_for_each_other_do_not_share_all_processors(batcher: Batcher) -> None:
    """Of two requests that are there when a lane is free, the first is not alone."""
    shared, alone, other = Computer(lanes=1), Computer(lanes=1), Computer(lanes=1)
    busy = scan_of(batcher, shared)
    assert shared.begun.acquire(timeout=SECONDS)
    waiting = [slice_of(batcher, shared, alone), slice_of(batcher, other, alone)]
    shared.may_answer.release(2)
    other.may_answer.release()
    alone.may_answer.release()
    for answer in (busy, *waiting):
        answer.result(SECONDS)
    assert len(shared.asked) == 2, "the first of them"
