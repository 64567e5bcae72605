"""Judge: how good the segmentation of a scan seems, slab by slab, and what of the whole is unlike the training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.drift import Answer, Departure
from scans.judgement import Judgement, sampled_slices
from scans.statistics import OrganStatistics
from serving import logs
from serving.models import LoadedModel
from serving.runtime import OutOfDeviceMemory
from serving.scan import Scan


class Judge:
    """Of one scan, which is segmented with one model."""

    def __init__(self, model: LoadedModel, scan: Scan, *, whole_slices: bool, quality_limit: float) -> None:
        """`whole_slices` is False where they go through the model in tiles: no confidence is looked at then.

        More than `quality_limit` (0..1) of the slices with organs must not be bad.
        """
        self._model = model
        self._scan = scan
        self._organs = len(scan.organs)
        self._confident = whole_slices and model.manifest.seen is not None
        self._quality_limit = quality_limit

    def of(self, first: int, grey: NDArray[Any], segmentation: NDArray[np.uint8]) -> Judgement:
        """Of the slab that begins at slice `first`: grey values and class indices, uint8, both (z, Y, X).

        A scan was promised a probability for each slice when it was accepted, or none: so it is for every slab.
        """
        judgement = Judgement.empty(self._organs)
        if self._scan.good_threshold is not None and self._model.quality is not None:
            good = self._model.quality.good(grey, segmentation, self._scan.window)
            judgement += Judgement.of_quality(segmentation, good, organs=self._organs)
        if self._confident:
            judgement += self._confidence(first, grey, segmentation)
        return judgement

    def _confidence(self, first: int, grey: NDArray[Any], segmentation: NDArray[np.uint8]) -> Judgement:
        """One slice after the other, so that it depends on nothing else; those without organs cost nothing."""
        found = Judgement.empty(self._organs)
        for index in sampled_slices(first, first + len(grey), self._scan.shape[0]):
            own = slice(index - first, index - first + 1)
            if not segmentation[own].any():
                continue
            try:
                _, confidence = self._model.runtime.segment_with_confidence(grey[own], self._scan.window)
            except OutOfDeviceMemory as error:
                logs.event("confidence_skipped", level=logging.WARNING, scan=self._scan.id, slice=index, error=error)
                continue
            found += Judgement.of_confidence(segmentation[own], confidence, organs=self._organs)
        return found

    def departures(self, statistics: OrganStatistics, judgement: Judgement) -> Iterator[Departure]:
        """What is unlike the training in the answer to the whole scan."""
        if (seen := self._model.manifest.seen) is not None:
            yield from seen.answers(Answer.of(statistics, self._scan.frame.spacing, judgement.confidence))
        threshold = self._scan.good_threshold
        bad = None if threshold is None else judgement.bad_share(threshold)
        if bad is not None and bad > self._quality_limit:
            yield Departure(
                "quality",
                f"the Quality Classifier calls {bad:.0%} of the {judgement.slices_with_organs} slices with organs bad",
                found=f"{bad:.2f}",
                expected=f"at most {self._quality_limit:g}",
            )
