"""The batching queue: who goes first, what is computed together, and what happens when memory runs out."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scans.intensity import Window
from serving.inference.batching import Batcher
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.scheduling import ComputedBatch, Urgency

WINDOW = Window(0, 1)


class Network:
    """Says which first values it was given, and waits until it is let go."""

    def __init__(self, *, lanes: int = 1, most_pixels: int = 10**9) -> None:
        self.lanes = lanes
        self.most_pixels = most_pixels
        self.batches: list[list[int]] = []
        self.shapes: list[tuple[int, ...]] = []
        self.dtypes: set[np.dtype[Any]] = set()
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[Any], *, lane: int) -> NDArray[np.uint8]:
        self.entered.release()
        assert self.open.wait(20) and len(windows) == len(slices)
        if slices.size > self.most_pixels:
            raise OutOfDeviceMemory(slices.shape, "toy")
        self.batches.append([int(piece[0, 0]) for piece in slices])
        self.shapes.append(slices.shape)
        self.dtypes.add(slices.dtype)
        return slices.astype(np.uint8)

    def segment_rows_with_confidence(self, slices: NDArray[Any], windows: NDArray[Any], *, lane: int) -> Any:
        return self.segment_rows(slices, windows, lane=lane), slices / np.float32(100)


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher(lanes=1)
    yield batcher
    batcher.close()


def ask(batcher: Batcher, network: Network, *values: int, side: int = 4, **how: Any) -> Any:
    slices = np.stack([np.full((side, side), value, np.uint16) for value in values])
    given = {"window": WINDOW, "network": network, "urgency": Urgency.NORMAL, "stream": "a", **how}
    return batcher.submit(slices, **given)


def held(batcher: Batcher, network: Network) -> Any:
    """A first batch that keeps the device busy until the network is opened."""
    first = ask(batcher, network, 0, stream="first")
    assert network.entered.acquire(timeout=20)
    return first


def test_the_more_urgent_goes_first_and_streams_take_turns(batcher: Batcher) -> None:
    """Whatever was asked for first: slices, then interactive, normal, backlog and shadow; equals in turns."""
    network = Network()
    held(batcher, network)
    asked = [
        ask(batcher, network, 7, urgency=Urgency.SHADOW, stream="h"),
        ask(batcher, network, 1, urgency=Urgency.BACKLOG, stream="b"),
        ask(batcher, network, 2, stream="x"),
        ask(batcher, network, 3, stream="x"),
        ask(batcher, network, 4, stream="y"),
        ask(batcher, network, 5, urgency=Urgency.INTERACTIVE, stream="i"),
        ask(batcher, network, 6, urgency=Urgency.SLICE, stream="s"),
    ]
    waiting = {Urgency.SLICE: 1, Urgency.INTERACTIVE: 1, Urgency.NORMAL: 3, Urgency.BACKLOG: 1, Urgency.SHADOW: 1}
    assert batcher.depth() == waiting
    network.open.set()
    for answer in asked:
        answer.result(20)
    assert network.batches == [[0], [6], [5], [2], [4], [3], [1], [7]]


def test_single_slices_without_end_leave_scans_every_fifth_batch(batcher: Batcher) -> None:
    """The most urgent scan's; the shadow, which answers nobody, waits until nothing else does."""
    network = Network()
    held(batcher, network)
    asked = [
        ask(batcher, network, 30, urgency=Urgency.SHADOW, stream="h"),
        ask(batcher, network, 21, urgency=Urgency.BACKLOG, stream="b"),
        ask(batcher, network, 20, stream="x"),
        *(ask(batcher, network, n, urgency=Urgency.SLICE, stream="s") for n in range(1, 14)),
    ]
    network.open.set()
    for answer in asked:
        answer.result(20)
    assert [first for (first,) in network.batches] == [0, 1, 2, 3, 4, 20, 5, 6, 7, 8, 21, 9, 10, 11, 12, 13, 30]


def test_single_slices_are_merged_and_scans_are_not(batcher: Batcher) -> None:
    """Slices of one shape share batches up to the limit; two scans' batches stay as they were asked for."""
    network = Network()
    held(batcher, network)
    slices = [ask(batcher, network, n, urgency=Urgency.SLICE, stream=f"s{n}", merged_up_to=3) for n in (1, 2, 3, 4)]
    other = ask(batcher, network, 5, side=8, urgency=Urgency.SLICE, stream="o", merged_up_to=3)
    scans = [ask(batcher, network, 6, 7, stream="x"), ask(batcher, network, 8, 9, stream="y")]
    network.open.set()
    assert [int(answer.result(20)[0, 0, 0]) for answer in slices] == [1, 2, 3, 4]
    assert other.result(20).shape == (1, 8, 8)
    assert [answer.result(20)[:, 0, 0].tolist() for answer in scans] == [[6, 7], [8, 9]]
    assert network.batches == [[0], [1, 2, 3], [4], [5], [6, 7], [8, 9]]


def test_slices_share_a_batch_by_what_the_network_takes(batcher: Batcher) -> None:
    """uint16 as it is, with its like; what is of no grey type, however it lies in memory, as float32, with all such."""
    network = Network()
    held(batcher, network)
    values = np.arange(16).reshape(1, 4, 4)
    given: list[NDArray[Any]] = [
        values.astype(np.uint16),
        values.astype(np.uint16)[:, :, ::-1][:, :, ::-1],
        values.astype(np.float64),
        values.astype(np.int64),
        values.astype(">i2"),
        values[:, ::-1, :].astype(np.int8)[:, ::-1, :],
    ]
    asked = [
        batcher.submit(
            slices, window=WINDOW, network=network, urgency=Urgency.SLICE, stream=str(n), merged_up_to=len(given)
        )
        for n, slices in enumerate(given)
    ]
    network.open.set()
    for answer in asked:
        np.testing.assert_array_equal(answer.result(20), values.astype(np.uint8))
    assert network.shapes[-2:] == [(2, 4, 4), (4, 4, 4)]
    assert network.dtypes == {np.dtype(np.uint16), np.dtype(np.float32)}


def test_what_was_not_begun_can_be_cancelled(batcher: Batcher) -> None:
    """It is never computed, and the one behind it is."""
    network = Network()
    held(batcher, network)
    dropped, kept = ask(batcher, network, 1), ask(batcher, network, 2)
    assert dropped.cancel()
    network.open.set()
    kept.result(20)
    assert network.batches == [[0], [2]]


def test_a_batch_that_does_not_fit_is_halved_and_remembered(batcher: Batcher) -> None:
    """Five slices where two fit: the answer is whole, and the next batch is not tried in one piece again."""
    network = Network(most_pixels=2 * 16)
    network.open.set()
    assert ask(batcher, network, 1, 2, 3, 4, 5).result(20)[:, 0, 0].tolist() == [1, 2, 3, 4, 5]
    network.batches.clear()
    tried = []
    whole = network.segment_rows
    network.segment_rows = lambda slices, windows, *, lane: (
        tried.append(len(slices)),
        whole(slices, windows, lane=lane),
    )[1]  # type: ignore[method-assign]
    ask(batcher, network, 1, 2, 3, 4).result(20)
    assert max(tried) <= 2


def test_confidence_that_does_not_fit_leaves_other_batches_whole(batcher: Batcher) -> None:
    """It is refused, since there are no tiles with it; what is asked without goes through in one piece as before."""

    class Narrow(Network):
        def segment_rows_with_confidence(self, slices: NDArray[np.float32], *_: Any, **__: Any) -> Any:
            raise OutOfDeviceMemory(slices.shape, "toy")

    network = Narrow()
    network.open.set()
    slices = np.arange(4, dtype=np.uint16).reshape(4, 1, 1)
    asked = batcher.submit_with_confidence(slices, window=WINDOW, network=network, urgency=Urgency.NORMAL, stream="a")
    with pytest.raises(OutOfDeviceMemory, match="no tiles with confidence"):
        asked.result(20)
    network.shapes.clear()
    ask(batcher, network, 1, 2, 3, 4, side=1).result(20)
    assert [shape[0] for shape in network.shapes] == [4]


def test_a_network_that_was_replaced_is_let_go(batcher: Batcher) -> None:
    """Once it has answered, no idle lane holds it, although nothing else comes."""
    network = Network(most_pixels=16)
    network.open.set()
    assert len(ask(batcher, network, 1, 2, 3, 4).result(20)) == 4
    gone = weakref.ref(network)
    del network
    deadline = time.monotonic() + 20
    while gone() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_slice_that_does_not_fit_goes_in_tiles(batcher: Batcher) -> None:
    """The answer has every pixel of the slice, and no tile was larger than what fits."""
    network = Network(most_pixels=320 * 320)
    network.open.set()
    slices = np.random.default_rng(0).integers(0, 200, (1, 600, 600))
    answer = batcher.submit(slices, window=WINDOW, network=network, urgency=Urgency.NORMAL, stream="a", halo=32)
    np.testing.assert_array_equal(answer.result(20), slices)
    assert all(shape[1] * shape[2] <= 320 * 320 for shape in network.shapes)


def test_what_cannot_be_helped_fails_alone(batcher: Batcher) -> None:
    """The one that fits nowhere says so; the lane goes on with the next."""
    network = Network(most_pixels=100)
    network.open.set()
    hopeless = ask(batcher, network, 1, side=300)
    fine = ask(batcher, network, 2)
    with pytest.raises(OutOfDeviceMemory, match="300 x 300"):
        hopeless.result(20)
    assert fine.result(20)[0, 0, 0] == 2


def test_a_network_that_fails_fails_alone(batcher: Batcher) -> None:
    """Its error reaches whoever asked, and nobody else."""

    class Broken(Network):
        def segment_rows(self, *_: Any, **__: Any) -> NDArray[np.uint8]:
            raise ValueError("broken")

    network = Network()
    network.open.set()
    broken, fine = ask(batcher, Broken(), 1), ask(batcher, network, 2)
    with pytest.raises(ValueError, match="broken"):
        broken.result(20)
    assert fine.result(20)[0, 0, 0] == 2


def test_a_closed_queue_leaves_nobody_waiting() -> None:
    """What is under way is finished, what waits is cancelled, and nothing more is taken."""
    batcher, network = Batcher(lanes=1), Network()
    running, waiting = held(batcher, network), ask(batcher, network, 1)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(20)
    network.open.set()
    closing.join(20)
    assert running.result(20)[0, 0, 0] == 0
    with pytest.raises(RuntimeError, match="closed"):
        ask(batcher, network, 2)


def test_lanes_compute_side_by_side() -> None:
    """Two batches of a network with two lanes are under way at once; of a network with one lane, never."""
    batcher = Batcher(lanes=2)
    for lanes in (2, 1):
        network = Network(lanes=lanes)
        answers = [ask(batcher, network, n, stream=str(n)) for n in range(2)]
        assert network.entered.acquire(timeout=20)
        assert network.entered.acquire(timeout=20 if lanes == 2 else 0.2) == (lanes == 2)
        network.open.set()
        for answer in answers:
            answer.result(20)
    batcher.close()


def test_confidence_is_computed_for_those_who_ask(batcher: Batcher) -> None:
    """It is merged with its like alone, halved where memory runs out, and each request gets its own part of both."""
    network = Network(most_pixels=3 * 16)
    first = held(batcher, network)
    told: list[tuple[int, bool]] = []

    def note(batch: ComputedBatch, waited_seconds: float, leads: bool) -> None:
        told.append((batch.slices, leads))

    def confident(*values: int) -> Any:
        slices = np.stack([np.full((4, 4), value, np.float32) for value in values])
        windows = np.tile(np.float32([[0, 1]]), (len(values), 1))
        how = {
            "network": network,
            "urgency": Urgency.SLICE,
            "stream": str(values),
            "merged_up_to": 8,
            "on_computed": note,
        }
        return batcher.submit_with_confidence(slices, window=windows, **how)

    plain = ask(batcher, network, 9, urgency=Urgency.SLICE, stream="plain", merged_up_to=8)
    two, three = confident(1, 2), confident(3, 4, 5)
    network.open.set()
    segmentation, confidence = three.result(20)
    assert segmentation[:, 0, 0].tolist() == [3, 4, 5]
    np.testing.assert_allclose(confidence[:, 0, 0], [0.03, 0.04, 0.05])
    assert two.result(20)[0][:, 0, 0].tolist() == [1, 2]
    assert plain.result(20)[0, 0, 0] == 9 and first.result(20) is not None
    assert network.batches == [[0], [9], [1, 2], [3, 4], [5]]
    assert told == [(5, True), (5, False)]
