"""SegmentationArray: a scan's answer on disk, one chunk per slab, and how far it has got."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from scans.geometry import Box, Triple
from serving.store import sync

ARRAY_DIR = "segmentation.zarr"


@dataclass(frozen=True)
class SegmentationArray:
    """uint8 (Z, Y, X) class indices. A slab is one file, which appears complete or not at all."""

    folder: Path
    array: zarr.Array[Any]
    slab_slices: int

    @classmethod
    def create(cls, scan_dir: Path, shape: Triple, *, slab_slices: int) -> SegmentationArray:
        """An empty array in a scan's folder."""
        _, y, x = shape
        zarr.create_array(
            store=scan_dir / ARRAY_DIR, shape=shape, chunks=(slab_slices, y, x), dtype=np.uint8, fill_value=0
        )
        return cls.open(scan_dir, slab_slices=slab_slices)

    @classmethod
    def open(cls, scan_dir: Path, *, slab_slices: int) -> SegmentationArray:
        """The array in a scan's folder."""
        array = zarr.open_array(scan_dir / ARRAY_DIR, mode="r+")
        array = array.with_config({"write_empty_chunks": True})  # a slab without organs is a file as well
        return cls(scan_dir / ARRAY_DIR, array, slab_slices)

    def write(self, box: Box, slab: NDArray[np.uint8]) -> None:
        """Writes one slab, uint8 of the box's shape; it is on disk when this returns."""
        self.array[box.slices] = slab
        chunk = self._chunk(box.start[0])
        for path in (chunk, *list(chunk.parents)[:3]):
            sync(path)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Slices [start, stop)."""
        return np.asarray(self.array[start:stop], dtype=np.uint8)

    def slabs(self) -> Iterator[NDArray[np.uint8]]:
        """All slabs, upwards."""
        for start in range(0, self.array.shape[0], self.slab_slices):
            yield self.read(start, start + self.slab_slices)

    def finished(self) -> dict[int, float]:
        """First slice of each slab on disk, with the time (seconds since 1970) at which it was written."""
        return finished_slabs(self.folder.parent, slices=self.array.shape[0], slab_slices=self.slab_slices)

    def _chunk(self, start: int) -> Path:
        return _chunk_path(self.folder, start // self.slab_slices)


def finished_slabs(scan_dir: Path, *, slices: int, slab_slices: int) -> dict[int, float]:
    """First slice of each slab on disk, with the time (seconds since 1970) at which it was written."""
    written = {}
    for start in range(0, slices, slab_slices):
        try:
            written[start] = _chunk_path(scan_dir / ARRAY_DIR, start // slab_slices).stat().st_mtime
        except FileNotFoundError:
            continue
    return written


def _chunk_path(folder: Path, number: int) -> Path:
    return folder / "c" / str(number) / "0" / "0"
