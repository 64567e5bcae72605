"""Tuning: how a model is run fastest here, in which precision, by which library and on how many threads, found by
measuring once and remembered.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scans.model.manifest import Golden
from serving.inference.candidates import ComparedCandidate, EngineCandidate, usual
from serving.inference.runtime.libraries import version
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.runtime.openvino_library import openvino_version
from serving.inference.runtime.processors import processors
from serving.inference.runtime.segmentation import window_rows
from serving.inference.runtime.segmentation_runtime import Engine, SegmentationRuntime, Served
from serving.inference.runtime.session import RuntimeRefused
from serving.observability import logs
from serving.storage import replace_text

TUNING_FILE = "tuning.json"
_SCHEMA = 2
_BATCHES = (1, 2, 4, 8, 16, 32)
LARGEST_BATCH = 64
"""Slices that go through a model at once at most."""
_WORTH = 1.03
"""A larger batch must be so much faster to be worth its memory and the longer waits."""
_LANES_WORTH = 1.01
"""More lanes of fewer threads, too: one slice alone takes longer then. But a thread that somebody holds up, by reading
or answering, holds up its own lane alone, where all threads of one batch wait for the last of them at every layer."""
_CANDIDATE_WORTH = 1.05
"""One precision or library must be so much faster than those before it, which are nearer to what export has checked."""
_CLOSE = 0.75
"""Of the fastest candidate's rate: a slower one is no match for it however it is run."""
_FINALISTS = 2
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
    precision: Served = "float32"
    engine: Engine = "onnxruntime"
    compared: tuple[ComparedCandidate, ...] = ()
    """What it was chosen among, itself included; none where nothing was measured."""

    @property
    def account(self) -> str:
        """What was chosen, and among what."""
        if not self.compared:
            return f"{self.precision} by {self.engine} (not measured)"
        among = "; ".join(map(str, self.compared))
        return f"{self.precision} by {self.engine}, {self.lanes} x {self.threads} threads ({among})"

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

    def __init__(self, folder: Path, *, overrides: TuningOverrides, measures: bool = True) -> None:
        """`measures`: what was not measured before is, and is remembered in the folder."""
        self._file = folder / TUNING_FILE
        self._overrides = overrides
        self._measures = measures

    def tune(
        self,
        candidates: Sequence[EngineCandidate],
        golden: Golden,
        *,
        model_sha256: str,
        like: Tuning | None = None,
    ) -> Tuning:
        """How to run a model: the fastest of the candidates, which come in the order of trust, on its golden slice.

        The same model, libraries, device, processor count and candidates are measured once. One that was not is run as
        `like` says, where that is given: measuring takes the whole device for seconds. Raises what opening or checking
        the first candidate raises where none of them can be used.
        """
        if self._overrides.threads and self._overrides.batch_size:
            return self._unmeasured(candidates, golden)
        versions = f"{version()} {openvino_version() or '-'}"
        names = ",".join(one.name for one in candidates)
        name = " ".join((model_sha256, versions, str(os.cpu_count()), str(self._overrides), names))
        remembered = self._remembered()
        if name in remembered:
            return remembered[name]
        if like is not None:
            return _like(like, candidates)
        if not self._measures:
            return self._unmeasured(candidates, golden)
        tuning = self._measured(candidates, golden)
        logs.event("model_tuned", **{**dataclasses.asdict(tuning), "compared": "; ".join(map(str, tuning.compared))})
        self._remember({**remembered, name: tuning})
        return tuning

    def _unmeasured(self, candidates: Sequence[EngineCandidate], golden: Golden) -> Tuning:
        chosen, pixels = usual(candidates), (self._overrides.batch_size or 1) * golden.slice.size
        return Tuning(pixels, self._overrides.threads or 1, 1, 0.0, chosen.precision, chosen.engine)

    def _measured(self, candidates: Sequence[EngineCandidate], golden: Golden) -> Tuning:
        """Of the candidates that come near the fastest, each in the way that suits it; of these the fastest."""
        compared: dict[str, ComparedCandidate] = {}
        if len(candidates) > 1:
            candidates = self._raced(candidates, golden, compared)
        best: Tuning | None = None
        for candidate, tuning in zip(candidates, self._in_their_ways(candidates, golden), strict=True):
            compared[candidate.name] = ComparedCandidate.of(candidate, tuning.slices_per_second)
            if best is None or tuning.slices_per_second > best.slices_per_second * _CANDIDATE_WORTH:
                best = tuning
        assert best is not None  # noqa: S101 - there is a candidate
        return dataclasses.replace(best, compared=tuple(compared.values()))

    def _raced(
        self, candidates: Sequence[EngineCandidate], golden: Golden, compared: dict[str, ComparedCandidate]
    ) -> list[EngineCandidate]:
        """Those that answer as they should and come near the fastest, in their order; all are noted in `compared`."""
        threads, lanes = next(_ways(self._overrides.threads))
        runtimes: dict[str, SegmentationRuntime] = {}
        errors: list[Exception] = []
        for candidate in candidates:
            try:
                runtime = candidate.open(threads, lanes)
                candidate.check(runtime)
                runtimes[candidate.name] = runtime
            except (RuntimeRefused, OutOfDeviceMemory) as error:
                errors.append(error)
                compared[candidate.name] = ComparedCandidate.of(candidate, None, error)
                logs.event("candidate_refused", precision=candidate.precision, engine=candidate.engine, reason=error)
        if not runtimes:
            raise errors[0]
        rates: dict[str, list[float]] = {name: [] for name in runtimes}
        for _ in range(_ROUNDS):
            for name, runtime in runtimes.items():
                rates[name].append(_slices_per_second(runtime, golden, self._overrides.batch_size or 1))
        medians = {name: statistics.median(measured) for name, measured in rates.items()}
        for candidate in candidates:
            if candidate.name in medians:
                compared[candidate.name] = ComparedCandidate.of(candidate, medians[candidate.name])
        finalists = sorted(medians, key=lambda name: medians[name], reverse=True)[:_FINALISTS]
        return [
            one for one in candidates if one.name in finalists and medians[one.name] >= _CLOSE * max(medians.values())
        ]

    def _in_their_ways(self, candidates: Sequence[EngineCandidate], golden: Golden) -> list[Tuning]:
        """Each way in the batch that suits it, then all ways against each other, in turn: a machine's speed changes."""
        ways: list[tuple[EngineCandidate, SegmentationRuntime, Tuning]] = []
        for candidate in candidates:
            for threads, lanes in _ways(self._overrides.threads):
                runtime = candidate.open(threads, lanes)
                ways.append((candidate, runtime, self._in_its_batch(runtime, threads, golden)))
                if runtime.lanes > lanes:  # a GPU: threads and lanes make no difference
                    break
        rates: list[list[float]] = [[tuning.slices_per_second] for _, _, tuning in ways]
        for _ in range(_ROUNDS if len(ways) > 1 else 0):
            for (_, runtime, tuning), measured in zip(ways, rates, strict=True):
                measured.append(_slices_per_second(runtime, golden, tuning.batch_pixels // golden.slice.size))
        best: dict[str, Tuning] = {}
        for (candidate, _, tuning), measured in zip(ways, rates, strict=True):
            rate, before = statistics.median(measured), best.get(candidate.name)
            if before is None or rate > before.slices_per_second * _LANES_WORTH:
                way = dataclasses.replace(tuning, slices_per_second=rate)
                best[candidate.name] = dataclasses.replace(way, precision=candidate.precision, engine=candidate.engine)
        return list(best.values())

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
                return {name: _tuning(one) for name, one in content["tunings"].items()}
        return {}

    def _remember(self, tunings: dict[str, Tuning]) -> None:
        content = {"schema": _SCHEMA, "tunings": {name: dataclasses.asdict(one) for name, one in tunings.items()}}
        replace_text(self._file, json.dumps(content, indent=1))


def _tuning(content: dict[str, Any]) -> Tuning:
    return Tuning(**{**content, "compared": tuple(ComparedCandidate(**one) for one in content["compared"])})


def _like(tuning: Tuning, candidates: Sequence[EngineCandidate]) -> Tuning:
    """How another model is run, in its precision and by its library where this one can be."""
    same = [one for one in candidates if (one.precision, one.engine) == (tuning.precision, tuning.engine)]
    chosen = same[0] if same else usual(candidates)
    return dataclasses.replace(tuning, precision=chosen.precision, engine=chosen.engine, compared=())


def _ways(threads: int) -> Iterator[tuple[int, int]]:
    """Threads and lanes to try: one batch on all cores, or one core for each of several batches."""
    cores = processors()
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
