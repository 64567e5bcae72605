"""Segmenter: a slab of a volume in, its segmentation on disk and its organ statistics out. No HTTP, no jobs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from scans.geometry import Box
from scans.statistics import OrganStatistics
from scans.tiling import segment_slab
from scans.volume import Volume
from serving.models import LoadedModel
from serving.scan import Scan
from serving.segmentation import SegmentationArray


class SlabReader:
    """Reads a volume's slabs in a thread of its own, the next one while the caller is busy with this one."""

    def __init__(self, volume: Volume, boxes: Sequence[Box]) -> None:
        self._volume = volume
        self._next = dict(itertools.pairwise(boxes))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="slab-reader")
        self._ahead: tuple[Box, Future[NDArray[Any]]] | None = None

    def __enter__(self) -> SlabReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def read(self, box: Box) -> NDArray[Any]:
        """Grey values of a slab, (z, Y, X). Raises FormatError where the file is damaged."""
        ahead, self._ahead = self._ahead, None
        slab = (ahead[1] if ahead and ahead[0] == box else self._submit(box)).result()
        if box in self._next:
            self._ahead = (self._next[box], self._submit(self._next[box]))
        return slab

    def _submit(self, box: Box) -> Future[NDArray[Any]]:
        return self._thread.submit(self._volume.slab, box.start[0], box.stop[0])


def segment_box(
    box: Box, *, scan: Scan, model: LoadedModel, reader: SlabReader, array: SegmentationArray
) -> OrganStatistics:
    """Segments one slab; when this returns, its chunk is on disk. Gives the slab's organ statistics.

    Raises FormatError where the file is damaged, and what ONNX Runtime raises.
    """
    segmentation = segment_slab(
        reader.read(box),
        lambda slices: model.runtime.segment(slices, scan.window),
        batch_size=scan.batch_size,
    )
    statistics = OrganStatistics.of(segmentation, box=box, classes=scan.organs.classes)
    array.write(box, segmentation)
    return statistics
