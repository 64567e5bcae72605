"""Departures: what nobody waits for any more is not computed to its end, and takes no room."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scans.intensity import Window
from serving.inference.backpressure import SliceRoom, SlicesFull
from serving.inference.batching import Batcher
from serving.inference.scheduling import Urgency

WINDOW = Window(0, 1)


class Gate:
    """A network that says which first values it was given, and waits until it is opened."""

    lanes = 1

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[Any], *, lane: int) -> NDArray[np.uint8]:
        self.entered.release()
        assert self.open.wait(20) and len(windows) == len(slices)
        self.batches.append([int(piece[0, 0]) for piece in slices])
        return slices.astype(np.uint8)

    def segment_rows_with_confidence(self, slices: NDArray[Any], windows: NDArray[Any], *, lane: int) -> Any:
        raise NotImplementedError


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher(lanes=1)
    yield batcher
    batcher.close()


def ask(batcher: Batcher, network: Gate, *values: int, **how: Any) -> Any:
    slices = np.stack([np.full((4, 4), value, np.uint16) for value in values])
    given = {"window": WINDOW, "network": network, "urgency": Urgency.NORMAL, "stream": "a", **how}
    return batcher.submit(slices, **given)


def held(batcher: Batcher, network: Gate) -> Any:
    """A first batch that keeps the device busy until the network is opened."""
    first = ask(batcher, network, 0, stream="first")
    assert network.entered.acquire(timeout=20)
    return first


def test_what_was_begun_ends_before_its_next_piece_once_all_who_asked_have_left(batcher: Batcher) -> None:
    """Two clients' slices in one batch that goes through one by one: with one client gone all are computed, with both
    gone no more than the piece under way, and what waits behind is answered."""
    for leaving, computed in ((1, [[1], [2], [3], [9]]), (2, [[1], [9]])):
        before, network = Gate(), Gate()
        held(batcher, before)
        how = {"urgency": Urgency.SLICE, "merged_up_to": 4, "most_pixels": 32 * 32}
        asked = [ask(batcher, network, 1, stream="a", **how), ask(batcher, network, 2, 3, stream="b", **how)]
        before.open.set()
        assert network.entered.acquire(timeout=20)
        behind = ask(batcher, network, 9, stream="c")
        assert all(one.cancel() for one in asked[:leaving])
        network.open.set()
        assert behind.result(20)[0, 0, 0] == 9
        assert network.batches == computed


def test_who_has_left_takes_no_room() -> None:
    """Of what waits, real bytes count: three slices of FP64 are 384 bytes of the 500 that may wait; a fourth is one too
    many while they are waited for."""
    batcher, network = Batcher(lanes=1, room=SliceRoom(most_bytes=500)), Gate()
    held(batcher, network)
    slices = np.zeros((3, 4, 4), np.float64)
    how: Any = {"window": WINDOW, "network": network, "urgency": Urgency.SLICE, "stream": "s"}
    waiting = batcher.submit(slices, **how)
    with pytest.raises(SlicesFull) as full:
        batcher.check_room(slices[:1])
    assert full.value.waiting == 384
    waiting.cancel()
    batcher.check_room(slices[:1])
    assert batcher.depth()[Urgency.SLICE] == 0
    network.open.set()
    batcher.close()
