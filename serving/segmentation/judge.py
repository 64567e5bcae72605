"""Judge: how good the segmentation of a scan seems, slab by slab, and what of the whole is unlike the training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.measures.statistics import OrganStatistics
from scans.model.drift import Answer, Departure
from scans.model.judgement import Judgement, sampled_slices
from serving.models.served import LoadedModel
from serving.queue.scan import Scan

_MOST_BAD = 0.5
"""Share of the slices with organs, where a manifest says of too few volumes how many were bad."""


class SlabJudge:
    """Of one scan, which is segmented with one model."""

    def __init__(self, model: LoadedModel, scan: Scan, *, whole_slices: bool, quality_limit: float | None) -> None:
        """`whole_slices` is False where they go through the model in tiles: no confidence is looked at then.

        More than `quality_limit` (0..1) of the slices with organs must not be bad; None: not more than follows from the
        volumes that the model has seen.
        """
        self._model = model
        self._scan = scan
        self._organs = len(scan.organs)
        self._confident = whole_slices and model.manifest.seen is not None
        self._quality_limit = quality_limit

    def sampled(self, start: int, stop: int) -> range:
        """Which of the slices [start, stop) of the scan the model is to say its confidence of."""
        return sampled_slices(start, stop, self._scan.shape[0]) if self._confident else range(0)

    def of(self, grey: NDArray[Any], segmentation: NDArray[np.uint8], confidence: Iterable[Judgement]) -> Judgement:
        """Of a slab: grey values and class indices, uint8, both (z, Y, X), and what the model's confidence says of its
        sampled slices, in their order.

        A scan was promised a probability for each slice when it was accepted, or none: so it is for every slab.
        """
        judgement = Judgement.empty(self._organs)
        if self._scan.good_threshold is not None and self._model.quality is not None:
            verdicts = self._model.quality.verdicts(grey, segmentation, self._scan.window)
            judgement += Judgement.of_quality(segmentation, verdicts, organs=self._organs)
        return sum(confidence, judgement)

    def departures(self, statistics: OrganStatistics, judgement: Judgement) -> Iterator[Departure]:
        """What is unlike the training in the answer to the whole scan."""
        if (seen := self._model.manifest.seen) is not None:
            yield from seen.answers(Answer.of(statistics, self._scan.frame.spacing, judgement.confidence))
        threshold = self._scan.good_threshold
        bad = None if threshold is None else judgement.bad_share(threshold)
        most = self._most_bad()
        if bad is not None and bad > most:
            yield Departure(
                "quality",
                f"the Quality Classifier calls {bad:.0%} of the {judgement.slices_with_organs} slices with organs bad",
                found=f"{bad:.2f}",
                expected=f"at most {most:.2g}",
            )

    def _most_bad(self) -> float:
        if self._quality_limit is not None:
            return self._quality_limit
        seen = self._model.manifest.seen
        most = None if seen is None else seen.most_bad
        return _MOST_BAD if most is None else most
