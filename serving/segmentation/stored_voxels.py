"""The grey values of an accepted scan: those that were verified when it came, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from scans.formats import FormatError, open_volume
from scans.volume import Volume, voxels_crc32
from serving.queue.scan import Scan
from serving.segmentation.plain_copy import copy_header
from serving.storage import DataDamaged, Store


class ScanDamaged(DataDamaged):
    """The stored file of a scan is not what was accepted, or is gone; only who sent it can send it again."""


@dataclass(frozen=True)
class StoredVoxels:
    """The open volume of a scan, slab by slab, each compared with the checksum of its verification."""

    scan: Scan
    volume: Volume

    def slab(self, number: int) -> NDArray[Any]:
        """Slab `number` of `scan.boxes`, (z, Y, X). Raises ScanDamaged."""
        box = self.scan.boxes[number]
        start, stop = box.start[0], box.stop[0]
        try:
            slab = self.volume.slab(start, stop)
        except FormatError as error:
            raise _damaged(self.scan, str(error)) from error
        known = self.scan.voxels_crc32
        if known and voxels_crc32(slab) != known[number]:
            raise _damaged(self.scan, f"slices {start} to {stop - 1} differ from what was accepted")
        return slab

    def slabs(self) -> Iterator[NDArray[Any]]:
        """All of them, upwards."""
        return (self.slab(number) for number in range(len(self.scan.boxes)))

    def plane(self, index: int) -> NDArray[Any]:
        """Slice z = `index`, (Y, X)."""
        number, offset = divmod(index, self.scan.slab_slices)
        plane: NDArray[Any] = self.slab(number)[offset]
        return plane


@contextmanager
def open_voxels(store: Store, scan: Scan) -> Iterator[StoredVoxels]:
    """The voxels of a scan in the store. Raises ScanDamaged where its file is gone, or is no longer what it was."""
    with ExitStack() as stack:
        path = stack.enter_context(store.source(scan.id, scan.volume))
        named = scan.upload.dataset if scan.copy_header is None else None
        try:
            volume = stack.enter_context(open_volume(path, spacing=scan.upload.spacing, dataset=named))
        except (FormatError, FileNotFoundError) as error:
            raise _damaged(scan, str(error)) from error
        if (volume.shape, volume.dtype.name) != (scan.shape, scan.dtype):
            raise _damaged(scan, f"{volume.dtype.name} {volume.shape} where {scan.dtype} {scan.shape} was accepted")
        if scan.copy_header is not None and scan.copy_header != copy_header(path, scan.shape, scan.dtype):
            raise _damaged(scan, "its header is not the one that was written")
        yield StoredVoxels(scan, volume)


def _damaged(scan: Scan, found: str) -> ScanDamaged:
    return ScanDamaged(f"the stored file of scan {scan.id} ({scan.upload.filename}) is damaged: {found}")
