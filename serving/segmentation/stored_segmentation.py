"""The segmentation of a scan in the store: an OME-Zarr pyramid that grows slab by slab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats.ome_zarr_pyramid import Pyramid
from serving.queue.scan import Scan
from serving.storage.contract import RESULT_DIR, Attempt


def create_segmentation(scan_dir: Path, scan: Scan) -> None:
    """An empty segmentation in the folder of a scan that is about to be accepted."""
    _create(scan_dir / RESULT_DIR, scan)


def open_segmentation(result: Any) -> Pyramid:
    """A scan's segmentation for reading, from what the store gives for it."""
    return Pyramid.open(result)


class SegmentationWriter:
    """One attempt at a scan: slabs are written in a folder of its own, then published, each level's shard whole."""

    def __init__(self, attempt: Attempt, folder: Path, scan: Scan) -> None:
        """`folder` is empty, on a local disk, and this attempt's alone."""
        self._attempt = attempt
        self._folder = folder
        self._pyramid = _create(folder, scan)

    def write(self, number: int, slab: NDArray[np.uint8]) -> None:
        """Slab `number`, uint8 (z, Y, X); it is durable when this returns.

        Raises Fenced where another attempt has begun or the scan is gone.
        """
        self._attempt.publish(self._folder, self._pyramid.write(number, slab))


def _create(folder: Path, scan: Scan) -> Pyramid:
    return Pyramid.create(
        folder,
        shape=scan.shape,
        dtype=np.uint8,
        frame=scan.frame,
        organs=scan.organs,
        slab_slices=scan.slab_slices,
    )
