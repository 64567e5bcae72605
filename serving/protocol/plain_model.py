"""Plain models: any ONNX model, offered with the inputs and outputs that its graph has."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.inference.backpressure import SlicesFull
from serving.inference.runtime.plain import PlainRun, PlainRuntime, RunEnded
from serving.protocol.errors import InferenceRefused, RunTooLong
from serving.protocol.model_config import ModelConfig
from serving.protocol.offered_model import TensorSpec
from serving.protocol.run_limits import PlainThreads
from serving.protocol.statistics import ModelStatistics, Timing
from serving.protocol.tensors import InferenceRequest

Arrays = Mapping[str, NDArray[Any]]


@dataclass(eq=False)
class _Waiting:
    inputs: Arrays
    outputs: tuple[str, ...]
    timing: Timing
    answer: Future[Arrays] = field(default_factory=Future)
    asked: float = field(default_factory=time.perf_counter)
    left: bool = False
    """Nobody waits for the answer any more."""
    batch: _Batch | None = None
    """It is computed in; None while it waits."""

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values()), ()))

    def like(self, other: _Waiting) -> bool:
        shapes = {name: array.shape[1:] for name, array in self.inputs.items()}
        return self.outputs == other.outputs and shapes == {n: array.shape[1:] for n, array in other.inputs.items()}


@dataclass(eq=False)
class _Batch:
    requests: list[_Waiting]
    run: PlainRun = field(default_factory=PlainRun)


class PlainModel:
    """One version, with a session of its own. Requests wait for a thread of the pool that all such models share.

    Where the model's configuration says that the first dimension is a batch, those that wait are computed together.
    """

    def __init__(
        self,
        name: str,
        version: str,
        *,
        runtime: PlainRuntime,
        config: ModelConfig,
        threads: PlainThreads,
        statistics: ModelStatistics,
        most_waiting: int,
    ) -> None:
        """At most `most_waiting` requests wait."""
        self.name, self.version, self.statistics = name, version, statistics
        self.inputs: tuple[TensorSpec, ...] = config.inputs
        self.outputs: tuple[TensorSpec, ...] = config.outputs
        self.max_batch_size = config.max_batch_size
        self.merges = config.merges
        self.on_gpu = runtime.on_gpu
        self._limit = config.most_rows
        self._runtime = runtime
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._most_waiting = most_waiting
        self._request_seconds = 1.0
        """That each took of the latest batch."""

    async def infer(self, request: InferenceRequest, timing: Timing) -> Arrays:
        """In a thread of the pool; ended where nobody waits for it any more.

        Raises InferenceRefused, RunFailed, RunTooLong, SlicesFull.
        """
        arrays = {name: tensor.array for name, tensor in request.inputs.items()}
        self._check_batch(arrays)
        asked = _Waiting(arrays, tuple(request.outputs) or tuple(spec.name for spec in self.outputs), timing)
        with self._lock:
            self.check_room()
            self._waiting.append(asked)
        self._threads.submit(
            self._work, model=self.name
        )  # it may find that another thread has taken this request along
        try:
            return await asyncio.wrap_future(asked.answer)
        except asyncio.CancelledError:
            self._leave(asked)
            raise

    def _leave(self, asked: _Waiting) -> None:
        """Ends what is computed for nobody but who has left."""
        with self._lock:
            asked.left = True
            if asked in self._waiting:
                self._waiting.remove(asked)
            if asked.batch is not None and all(one.left for one in asked.batch.requests):
                asked.batch.run.end()

    def check_room(self) -> None:
        """Raises SlicesFull where as many requests wait as may."""
        waiting, most = len(self._waiting), self._most_waiting
        if waiting >= most:
            raise SlicesFull(
                f"{waiting} requests wait for model '{self.name}' already, and {most} may (RICEFISH_QUEUE_SLICES)",
                limit="slices",
                waiting=waiting,
                most=most,
                seconds=(waiting - most + 1) * self._request_seconds,
            )

    def _check_batch(self, arrays: Arrays) -> None:
        if not self.max_batch_size:
            return
        sizes = {len(array) for array in arrays.values()}
        if len(sizes) > 1:
            raise InferenceRefused(f"all input tensors of model '{self.name}' must have the same batch-size")
        if self._limit is not None and max(sizes, default=0) > self._limit:
            raise InferenceRefused(f"inference request batch-size must be <= {self._limit} for '{self.name}'")

    def _work(self) -> None:
        with self._lock:
            taken = self._take()
            begun = [one for one in taken if one.answer.set_running_or_notify_cancel() and not one.left]
            batch = _Batch(begun)
            for one in begun:
                one.batch = batch
        if not begun:
            return
        try:
            with self._threads.limited(batch.run):
                answers = self._computed(batch)
        except BaseException as error:
            refusal = self._too_long() if isinstance(error, RunEnded) else error
            for one in begun:
                one.answer.set_exception(refusal)
            return
        for one, answer in zip(begun, answers, strict=True):
            one.answer.set_result(answer)

    def _too_long(self) -> RunTooLong:
        return RunTooLong(
            f"model '{self.name}' was ended: it may compute for {self._threads.most_seconds:g} s "
            "(RICEFISH_PLAIN_MODEL_SECONDS), and not beyond the end of the server"
        )

    def _take(self) -> list[_Waiting]:
        if not self._waiting:
            return []
        batch = [self._waiting.popleft()]
        rows = batch[0].rows if self.merges else 0
        while self.merges and self._waiting and self._waiting[0].like(batch[0]):
            rows += self._waiting[0].rows
            if rows > self.max_batch_size:
                break
            batch.append(self._waiting.popleft())
        return batch

    def _computed(self, computed: _Batch) -> list[Arrays]:
        began, batch = time.perf_counter(), computed.requests
        first = batch[0]
        whole = (
            first.inputs
            if len(batch) == 1
            else {name: np.concatenate([one.inputs[name] for one in batch]) for name in first.inputs}
        )
        outputs = dict(zip(first.outputs, self._runtime.run(first.outputs, whole, run=computed.run), strict=True))
        seconds = time.perf_counter() - began
        self._request_seconds = seconds / len(batch)
        rows = sum(one.rows for one in batch) if self.max_batch_size else 1
        self.statistics.executed(seconds, rows=rows)
        for one in batch:
            one.timing.parts.append((began - one.asked, seconds))
        if len(batch) == 1:
            return [outputs]
        ends = np.cumsum([one.rows for one in batch])[:-1]
        parts = {name: np.split(array, ends) for name, array in outputs.items()}
        return [{name: parts[name][number] for name in first.outputs} for number in range(len(batch))]
