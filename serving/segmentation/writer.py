"""Segmented slabs into the store, upwards, each judged before and noted in the database after."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Box
from scans.measures.statistics import OrganStatistics
from scans.model.judgement import Judgement
from serving.observability.observer import Observer
from serving.queue.leases import FinishedSlabs
from serving.queue.worker import Run
from serving.segmentation.judge import SlabJudge
from serving.segmentation.stopwatch import Stopwatch
from serving.segmentation.stored_segmentation import SegmentationWriter

_RECENT_SLABS = 16


@dataclass(frozen=True)
class SegmentedSlab:
    """A slab with its answer."""

    number: int
    box: Box
    grey: NDArray[Any]
    """(z, Y, X)"""
    segmentation: NDArray[np.uint8]
    """Class indices, (z, Y, X)."""
    confidence: list[Judgement]
    """Of the slices that were sampled, in their order."""


class ResultWriter:
    """Makes the slabs of one run durable."""

    def __init__(
        self,
        run: Run,
        segmentation: SegmentationWriter,
        judge: SlabJudge,
        *,
        batch_size: int,
        watch: Stopwatch,
        observer: Observer,
    ) -> None:
        """`observer` is told of each slab that is durable, and how the whole is unlike the training."""
        self._run = run
        self._segmentation = segmentation
        self._judge = judge
        self._batch_size = batch_size
        self._watch = watch
        self._observer = observer
        self._statistics = run.lease.statistics
        self._judgement = run.lease.judgement
        self._checksums = dict(run.lease.checksums)
        self._scan = run.lease.scan
        self._finished: deque[tuple[float, int]] = deque(maxlen=_RECENT_SLABS)

    def write(self, slab: SegmentedSlab) -> None:
        """Raises Fenced or LeaseLost where another has taken the scan up."""
        with self._watch.measuring("judge"):
            judgement = self._judge.of(slab.grey, slab.segmentation, slab.confidence)
            self._judgement += judgement
        with self._watch.measuring("write"):
            self._statistics += OrganStatistics.of(slab.segmentation, box=slab.box, classes=self._scan.organs.classes)
            if not self._checksums:
                self._checksums.update(self._segmentation.write_metadata())
            self._checksums.update(self._segmentation.write(slab.number, slab.segmentation))
        last = slab.number + 1 == len(self._scan.boxes)
        departures = tuple(self._judge.departures(self._statistics, self._judgement)) if last else ()
        self._finished.append((time.monotonic(), slab.box.shape[0]))
        self._run.commit(
            FinishedSlabs(
                slabs_done=slab.number + 1,
                statistics=self._statistics,
                judgement=self._judgement,
                checksums=self._checksums,
                warnings=(*self._scan.warnings, *departures),
                timings=dict(self._watch.seconds),
                batch_size=self._batch_size,
                rate=self._rate(),
            )
        )
        model = self._scan.model.name
        self._observer.slab_finished(slab.box.shape)
        self._observer.slab_judged(judgement, model=model)
        for departure in departures:
            self._observer.departed(departure, model=model)

    def _rate(self) -> float | None:
        if len(self._finished) < 2:
            return None
        (began, _), *later = self._finished
        seconds = later[-1][0] - began
        return sum(slices for _, slices in later) / seconds if seconds > 0 else None
