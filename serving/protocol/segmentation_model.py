"""Segmentation: a model of this project as the protocol offers it: single slices through the batching queue."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.tiling import HALO
from serving.inference.batching import Batcher
from serving.inference.runtime.session import CPU
from serving.inference.scheduling import ComputedBatch, Urgency
from serving.inference.tuning import LARGEST_BATCH
from serving.models.served import LoadedModel
from serving.protocol.answers import check_json_values
from serving.protocol.datatypes import REAL
from serving.protocol.errors import InferenceRefused
from serving.protocol.offered_model import TensorSpec
from serving.protocol.statistics import ModelStatistics, Timing
from serving.protocol.tensors import InferenceRequest

SEGMENTATION, CONFIDENCE = "segmentation", "confidence"
_REQUESTS = itertools.count()
"""Each is a stream of its own in the queue."""
_LEAST = float(np.finfo(np.float32).min)
_INLINE_BYTES = 1 << 20
"""What is larger is prepared in a thread, so that nobody else waits for it."""


@dataclass(frozen=True, slots=True)
class OfferedSegmentation:
    """Slices (N, Y, X) of raw grey values and a window for each, (N, 2), in; `segmentation` and `confidence` out."""

    model: LoadedModel
    batcher: Batcher
    statistics: ModelStatistics
    max_batch_size: int = LARGEST_BATCH
    merges: bool = True

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.identity.name

    @property
    def version(self) -> str:
        """The model's, as clients name it."""
        return self.model.identity.shown_version

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Grey values of any real type; the window may be left out where the model has one of its own."""
        fixed = self.model.manifest.intensity.fixed is not None
        return (
            TensorSpec("slices", "FP32", (-1, -1, -1), accepts=REAL),
            TensorSpec("window", "FP32", (-1, 2), accepts=REAL, optional=fixed),
        )

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The class index of every pixel, and its probability, which is computed only for those who name it."""
        return (TensorSpec(SEGMENTATION, "UINT8", (-1, -1, -1)), TensorSpec(CONFIDENCE, "FP32", (-1, -1, -1)))

    @property
    def on_gpu(self) -> bool:
        """Whether it runs there."""
        return self.model.runtime.provider != CPU

    def check_room(self) -> None:
        """Raises SlicesFull where not even one more slice may wait."""
        self.batcher.check_room()

    async def infer(self, request: InferenceRequest, timing: Timing) -> Mapping[str, NDArray[Any]]:
        """Through the batching queue, in batches that the device likes. Raises InferenceRefused, TooLarge."""
        self._check_answer(request)
        confident = not request.outputs.keys().isdisjoint({CONFIDENCE})
        large = request.inputs["slices"].array.nbytes > _INLINE_BYTES
        slices, windows = await asyncio.to_thread(self._checked, request) if large else self._checked(request)
        futures = self._submit(slices, windows, confident, timing)  # here, so that who leaves meanwhile submits nothing
        if len(futures) == 1:
            answers = [await asyncio.wrap_future(futures[0])]
        else:
            answers = await asyncio.gather(*map(asyncio.wrap_future, futures))
        if not confident:
            outputs = {SEGMENTATION: _joined(answers)}
        else:
            segmentations, confidences = zip(*answers, strict=True)
            outputs = {SEGMENTATION: _joined(segmentations), CONFIDENCE: _joined(confidences)}
        return {name: outputs[name] for name in request.outputs or (SEGMENTATION,)}

    def _check_answer(self, request: InferenceRequest) -> None:
        """Before it is computed, whether it can be sent as it is wanted."""
        for output in request.outputs or (SEGMENTATION,):
            if not request.is_binary(output) and output not in request.places:
                check_json_values(request.inputs["slices"].array.size, output=output)

    def _submit(
        self, slices: NDArray[Any], windows: NDArray[np.float32], confident: bool, timing: Timing
    ) -> list[Future[Any]]:
        stream = f"slices {next(_REQUESTS)}"
        memory, runtime = self.batcher.memory, self.model.runtime
        most_pixels = memory.most_pixels(runtime.pixel_bytes)
        memory.check(*slices.shape[1:], most_pixels=most_pixels, whole=confident)
        self.batcher.check_room(slices)
        size = self.model.tuning.batch_size(*slices.shape[1:])

        def on_computed(batch: ComputedBatch, waited_seconds: float, first: bool) -> None:
            timing.parts.append((waited_seconds, batch.seconds))
            if first:
                self.statistics.executed(batch.seconds, rows=batch.slices)

        whole = partial(self.batcher.submit, halo=HALO, alone=self.model.alone)
        submit = self.batcher.submit_with_confidence if confident else whole
        return [
            submit(
                slices[first : first + size],
                window=windows[first : first + size],
                network=runtime,
                urgency=Urgency.SLICE,
                stream=stream,
                merged_up_to=size,
                most_pixels=most_pixels,
                on_computed=on_computed,
            )
            for first in range(0, len(slices), size)
        ]

    def _checked(self, request: InferenceRequest) -> tuple[NDArray[Any], NDArray[np.float32]]:
        slices = request.inputs["slices"].array
        if not slices.size:
            raise InferenceRefused(f"input 'slices' holds nothing: its shape is {list(slices.shape)}")
        if slices.dtype.kind == "f" and not _LEAST <= slices.min() <= slices.max() <= -_LEAST:
            raise InferenceRefused("input 'slices' holds values that are not finite, or too large for FP32")
        if "window" not in request.inputs:
            fixed = self.model.manifest.intensity.fixed
            assert fixed is not None  # noqa: S101 - else the input is no optional one
            return slices, np.tile(np.array([fixed.lower, fixed.upper], np.float32), (len(slices), 1))
        with np.errstate(over="ignore"):
            windows = request.inputs["window"].array.astype(np.float32)
        if len(windows) != len(slices) or not (windows[:, 0] < windows[:, 1]).all() or not np.isfinite(windows).all():
            raise InferenceRefused(
                f"input 'window' needs finite numbers, lower < upper, for each slice: shape [{len(slices)},2]"
            )
        return slices, windows


def _joined(parts: Any) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
