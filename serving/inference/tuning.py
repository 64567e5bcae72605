"""Tuning: how a model is run fastest here, found by measuring once and remembered."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scans.model.manifest import Golden
from serving.inference.runtime.contract import SegmentationRuntime
from serving.inference.runtime.libraries import version
from serving.inference.runtime.segmentation import window_rows
from serving.observability import logs
from serving.storage import replace_text

TUNING_FILE = "tuning.json"
_SCHEMA = 1
_BATCHES = (1, 2, 4, 8, 16, 32)
LARGEST_BATCH = 64
"""Slices that go through a model at once at most."""
_WORTH = 1.03
"""A larger batch must be so much faster to be worth its memory and the longer waits."""
_LANES_WORTH = 1.01
"""More lanes of fewer threads, too: one slice alone takes longer then. But a thread that somebody holds up, by reading
or answering, holds up its own lane alone, where all threads of one batch wait for the last of them at every layer."""
_ROUNDS = 3
_LEAST_SECONDS = 0.4
_MOST_SECONDS = 3.0
"""That one way of running is tried for."""


@dataclass(frozen=True)
class Tuning:
    """How a model is run."""

    batch_pixels: int
    """Pixels that go through the model at once."""
    threads: int
    """CPU threads of one batch; 0 where a GPU computes."""
    lanes: int
    """Batches computed at once."""
    slices_per_second: float
    """Of the golden slice's shape, when it was measured; 0 where it was not."""

    def batch_size(self, height: int, width: int) -> int:
        """Slices of that shape that go through the model at once."""
        return max(1, min(LARGEST_BATCH, round(self.batch_pixels / (height * width))))


@dataclass(frozen=True)
class TuningOverrides:
    """What settings decide; 0 leaves it to measurement."""

    threads: int
    batch_size: int


class Tuner:
    """Finds out how models are run, and remembers it in a file."""

    def __init__(self, folder: Path, *, overrides: TuningOverrides) -> None:
        self._file = folder / TUNING_FILE
        self._overrides = overrides

    def tune(
        self,
        open_runtime: Callable[[int, int], SegmentationRuntime],
        golden: Golden,
        *,
        model_sha256: str,
        like: Tuning | None = None,
    ) -> Tuning:
        """How to run a model that `open_runtime(threads, lanes)` opens, measured on its golden slice.

        The same model, ONNX Runtime, device and processor count are measured once. One that was not is run as `like`
        says, where that is given: measuring takes the whole device for seconds. Raises what `open_runtime` raises.
        """
        if self._overrides.threads and self._overrides.batch_size:
            return Tuning(self._overrides.batch_size * golden.slice.size, self._overrides.threads, 1, 0.0)
        name = " ".join((model_sha256, version(), str(os.cpu_count()), str(self._overrides)))
        remembered = self._remembered()
        if name in remembered:
            return remembered[name]
        if like is not None:
            return like
        tuning = self._measured(open_runtime, golden)
        logs.event("model_tuned", **dataclasses.asdict(tuning))
        self._remember({**remembered, name: tuning})
        return tuning

    def _measured(self, open_runtime: Callable[[int, int], SegmentationRuntime], golden: Golden) -> Tuning:
        """Each way in the batch that suits it, then the ways against each other, in turn: a machine's speed changes."""
        ways: list[tuple[SegmentationRuntime, Tuning]] = []
        for threads, lanes in _ways(self._overrides.threads):
            runtime = open_runtime(threads, lanes)
            ways.append((runtime, self._in_its_batch(runtime, threads, golden)))
            if runtime.lanes > lanes:  # a GPU: threads and lanes make no difference
                break
        rates: list[list[float]] = [[tuning.slices_per_second] for _, tuning in ways]
        for _ in range(_ROUNDS if len(ways) > 1 else 0):
            for (runtime, tuning), measured in zip(ways, rates, strict=True):
                measured.append(_slices_per_second(runtime, golden, tuning.batch_pixels // golden.slice.size))
        best, *others = (
            dataclasses.replace(tuning, slices_per_second=statistics.median(measured))
            for (_, tuning), measured in zip(ways, rates, strict=True)
        )
        for other in others:
            if other.slices_per_second > best.slices_per_second * _LANES_WORTH:
                best = other
        return best

    def _in_its_batch(self, runtime: SegmentationRuntime, threads: int, golden: Golden) -> Tuning:
        """The smallest batch than which the next is not worth its memory."""
        first, *larger = [self._overrides.batch_size] if self._overrides.batch_size else _BATCHES
        batch, best = first, _slices_per_second(runtime, golden, first)
        for next_batch in larger:
            rate = _slices_per_second(runtime, golden, next_batch)
            if rate <= best * _WORTH:
                break
            batch, best = next_batch, rate
        return Tuning(batch * golden.slice.size, threads, runtime.lanes, best)

    def _remembered(self) -> dict[str, Tuning]:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            content = json.loads(self._file.read_text(encoding="utf-8"))
            if content["schema"] == _SCHEMA:
                return {name: Tuning(**tuning) for name, tuning in content["tunings"].items()}
        return {}

    def _remember(self, tunings: dict[str, Tuning]) -> None:
        content = {"schema": _SCHEMA, "tunings": {name: dataclasses.asdict(one) for name, one in tunings.items()}}
        replace_text(self._file, json.dumps(content, indent=1))


def _ways(threads: int) -> Iterator[tuple[int, int]]:
    """Threads and lanes to try: one batch on all cores, or one core for each of several batches."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads:
        yield threads, 1
        return
    yield cores, 1
    if cores > 1:
        yield 1, cores
    if cores > 4:
        yield cores // 4, 4


def _slices_per_second(runtime: SegmentationRuntime, golden: Golden, batch: int) -> float:
    slices = np.ascontiguousarray(np.repeat(golden.slice[np.newaxis], batch, axis=0))
    windows = window_rows(golden.window, batch)

    def one(lane: int) -> None:
        runtime.segment_rows(slices, windows, lane=lane)

    with ThreadPoolExecutor(runtime.lanes) as threads:
        list(threads.map(one, range(runtime.lanes)))  # the first time, memory is laid out
        began, rounds = time.perf_counter(), 0
        while (seconds := time.perf_counter() - began) < _LEAST_SECONDS or (rounds < 2 and seconds < _MOST_SECONDS):
            list(threads.map(one, range(runtime.lanes)))
            rounds += 1
    return rounds * runtime.lanes * batch / seconds
