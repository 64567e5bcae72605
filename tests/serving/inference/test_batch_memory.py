"""What waits for a device, and what is made of a large slice, takes no multiple of the slice."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scans.geometry import Box
from scans.intensity import Window
from scans.measures.statistics import OrganStatistics
from scans.organs import OrganMap
from scans.overlay import overlay
from scans.verdicts import Verdicts
from serving.inference.batching import Batcher, scan_batch_bytes
from serving.inference.scheduling import Urgency
from serving.models.quality_classifier import QualityRuntime
from serving.segmentation.pictures import PictureStyle, png

SIDE = 4100
"""Of a slice of 17 million pixels."""
WINDOW = Window(0, 1)


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Of what numpy allocates meanwhile: `most` at once and what is `left`, in bytes for each pixel of a slice."""
    found: dict[str, float] = {}
    tracemalloc.start()
    try:
        yield found
        left, most = tracemalloc.get_traced_memory()
        found.update(left=left / SIDE**2, most=most / SIDE**2)
    finally:
        tracemalloc.stop()


class Held:
    """A network that waits until it is let go."""

    lanes = 1

    def __init__(self) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.types: set[np.dtype[Any]] = set()

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[Any], *, lane: int) -> NDArray[np.uint8]:
        self.entered.set()
        assert self.open.wait(60)
        self.types.add(slices.dtype)
        return np.zeros(slices.shape, dtype=np.uint8)


def test_large_batches_of_scans_wait_as_they_are() -> None:
    """Four of a type that networks do not take wait behind one that is computed, which alone is in floating point;
    small ones are cast before they wait."""
    batcher, network = Batcher(lanes=1), Held()
    large, small = np.zeros((1, SIDE, SIDE), dtype=np.int8), np.zeros((1, 1000, 1000), dtype=np.int8)

    def ask(slices: NDArray[Any]) -> Any:
        return batcher.submit(slices, window=WINDOW, network=network, urgency=Urgency.NORMAL, stream="a")

    try:
        with measured() as found:
            answers = [ask(large)]
            assert network.entered.wait(60)
            answers += [ask(large) for _ in range(4)]
        assert found["left"] < 4.5
        with measured() as found:
            answers.append(ask(small))
        assert found["left"] >= 4 * small.size / SIDE**2
    finally:
        network.open.set()
        batcher.close()
    assert all(answer.cancelled() or answer.result().shape[0] == 1 for answer in answers)
    assert network.types == {np.dtype(np.float32)}


def test_only_what_goes_through_the_network_is_cast() -> None:
    """Of a large slice a tile at a time, beside its answer: every lane of a large machine has such a slice."""
    batcher, network = Batcher(lanes=1), Held()
    network.open.set()
    slices = np.zeros((1, SIDE, SIDE), dtype=np.int8)
    settings: dict[str, Any] = {"window": WINDOW, "network": network, "urgency": Urgency.NORMAL, "stream": "a"}
    try:
        with measured() as found:
            answer = batcher.submit(slices, **settings, halo=64, most_pixels=1024 * 1024).result()
    finally:
        batcher.close()
    assert answer.shape == slices.shape
    assert network.types == {np.dtype(np.float32)}
    assert found["most"] < 1.6


@pytest.mark.parametrize(
    ("dtype", "side", "confidence", "each"),
    [
        *(("i1", 4096, False, 5), ("i1", 4096, True, 9), ("i1", 4100, False, 2)),
        *(("u1", 4096, False, 2), ("u2", 4096, True, 7), ("u2", 4100, False, 3)),
    ],
)
def test_what_a_batch_takes_is_known(dtype: str, side: int, confidence: bool, each: int) -> None:
    """Bytes for each pixel: cast or, if it is large or of a grey type, as it is; its class indices, its confidence."""
    slices = np.broadcast_to(np.zeros((), dtype), (1, side, side))
    assert scan_batch_bytes(slices, confidence=confidence) == each * side * side


def test_a_large_picture_is_mixed_in_bands() -> None:
    """Three bytes a pixel for the picture, as many on their way into the PNG, and a band beside them."""
    grey, organs = np.zeros((SIDE, SIDE), np.uint8), np.ones((SIDE, SIDE), np.uint8)
    palette = OrganMap.from_mapping({1: "heart"}).palette
    with measured() as found:
        overlay(grey, organs, window=WINDOW, palette=palette)
    assert found["most"] < 8
    style = PictureStyle(opacity=0.5, scale_bar=False, legend=False)
    with measured() as found:
        png(grey, organs, spacing_mm=(1, 1), window=WINDOW, organs=OrganMap.from_mapping({1: "heart"}), style=style)
    assert found["most"] < 8


@pytest.mark.parametrize("depth", [1, 2])
def test_statistics_of_large_slices_take_little(depth: int) -> None:
    """An organ that fills them: a mask, and sums of a byte for each pixel of a slice."""
    organs = np.ones((depth, SIDE, SIDE), dtype=np.uint8)
    with measured() as found:
        statistics = OrganStatistics.of(organs, box=Box.of_shape(organs.shape), classes=2)
    assert statistics.organs[0].voxels == depth * SIDE**2
    assert found["most"] < depth + 2


class Looked:
    """Keeps the shapes that a Quality Classifier is shown, and gives the mean of each slice and mask."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def verdicts(self, slices: NDArray[Any], windows: NDArray[np.float32], segmentation: NDArray[np.uint8]) -> Verdicts:
        assert slices.shape == segmentation.shape
        self.shapes.append(slices.shape)
        return Verdicts((slices.mean(axis=(1, 2)) + segmentation.mean(axis=(1, 2))).astype(np.float32), None)


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((3, 1000, 1000), [(2, 1000, 1000), (1, 1000, 1000)]),
        ((2, 2048, 2048), [(1, 2048, 2048)] * 2),
        ((1, 2048, 2049), [(1, 1024, 1025)]),
        ((1, 8192, 8192), [(1, 2048, 2048)]),
        ((1, 3, 1 << 22), [(1, 3, 8192)]),
    ],
)
def test_the_classifier_sees_large_slices_in_fewer_pixels(
    shape: tuple[int, int, int], shown: list[tuple[int, ...]]
) -> None:
    """A pixel becomes a channel for each organ; beyond 2048 x 2048 every second row and column do, or every fourth; of
    a long line so many columns that 8192 are left."""
    session = Looked()
    slices = np.broadcast_to(np.random.default_rng(1).integers(0, 2, shape[2]).astype(np.uint8), shape)
    good, _ = QualityRuntime(None, session).verdicts(slices, slices, WINDOW)  # type: ignore[arg-type]
    assert session.shapes == shown
    assert good == pytest.approx(np.ones(len(slices)), abs=0.1)
