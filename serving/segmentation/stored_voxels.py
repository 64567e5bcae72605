"""The grey values of an accepted scan: an OME-Zarr pyramid that was written while the scan was verified.

Metadata are compared with what was noted then. Of shards each chunk holds its own checksum, so that a part of one can
be read without the rest; one that is gone is an error here, where Zarr alone would show background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from scans.checksums import checksum
from scans.formats.ome_zarr_pyramid import Pyramid
from scans.volume import ArrayVoxels, Volume
from serving.queue.scan import Scan
from serving.storage import DataDamaged, Store
from serving.storage.contract import IMAGE_DIR
from serving.storage.pyramid_files import PyramidFiles

_OF_ZSTANDARD = "Zstd"
"""In the message of numcodecs' only kind of error."""


class ScanDamaged(DataDamaged):
    """The stored voxels of a scan are not what was accepted, or are gone; only who sent it can send it again."""


@dataclass(frozen=True)
class StoredVoxels:
    """The voxels of a scan, read slab by slab or plane by plane from where they lie."""

    store: Store
    scan: Scan
    pyramid: Pyramid

    @property
    def volume(self) -> Volume:
        """With the scan's frame."""
        return Volume(ArrayVoxels(self.pyramid.levels[0]), self.scan.frame)

    def slab(self, number: int) -> NDArray[Any]:
        """Slab `number` of `scan.boxes`, (z, Y, X). Raises ScanDamaged."""
        box = self.scan.boxes[number]
        return _whole(self.scan, lambda: self.pyramid.read(box.start[0], box.stop[0]))

    def slabs(self) -> Iterator[NDArray[Any]]:
        """All of them, upwards."""
        return (self.slab(number) for number in range(len(self.scan.boxes)))

    def plane(self, along: int, index: int) -> NDArray[Any]:
        """The plane across axis z, y or x (0, 1, 2); only its chunks are read. Raises ScanDamaged."""
        return _whole(self.scan, lambda: self.pyramid.plane(along, index))

    def sizes(self) -> dict[str, int]:
        """Bytes of each file by name, metadata first. Raises ScanDamaged where one is gone."""
        return {name: _bytes(self.store, self.scan, name) for name in self.scan.image_checksums}

    def file(self, name: str) -> bytes:
        """One of its files, all of it. Raises ScanDamaged unless it is as it was written."""
        return _noted(self.store, self.scan, name)


def open_voxels(store: Store, scan: Scan) -> StoredVoxels:
    """The voxels of a scan in the store. Raises ScanDamaged where its metadata are gone, or are not as written."""
    if not scan.image_checksums:
        raise _damaged(scan, "it is of an earlier version, which kept it as it came; send it again with fresh=true")
    metadata = {name: _noted(store, scan, name) for name in Pyramid.metadata_files(scan.shape)}

    def read(name: str, start: int, stop: int | None) -> bytes:
        return metadata[name][start:stop] if name in metadata else _part(store, scan, name, start, stop)

    return StoredVoxels(store, scan, Pyramid.open(PyramidFiles(scan.image_checksums, read)))


def damaged_voxels(store: Store, scan: Scan) -> Iterator[tuple[str, str]]:
    """Files of the voxels that are not as they were written, by name relative to the scan, and how they are."""
    if not scan.image_checksums:
        yield IMAGE_DIR, "it is of an earlier version, which kept the scan as it came"
    for name in scan.image_checksums:
        try:
            _noted(store, scan, name)
        except ScanDamaged as damaged:
            yield f"{IMAGE_DIR}/{name}", str(damaged)


def _noted(store: Store, scan: Scan, name: str) -> bytes:
    """A whole file, which is as it was written."""
    content = _part(store, scan, name, 0, None)
    if checksum(content) != scan.image_checksums.get(name):
        raise _damaged(scan, f"{IMAGE_DIR}/{name} is not what was written")
    return content


def _part(store: Store, scan: Scan, name: str, start: int, stop: int | None) -> bytes:
    try:
        content = store.read_file(scan.id, f"{IMAGE_DIR}/{name}", start=start, stop=stop)
    except FileNotFoundError as error:
        raise _damaged(scan, f"{IMAGE_DIR}/{name} is gone") from error
    if not content:  # which Zarr takes for a file that is not there
        raise _damaged(scan, f"{IMAGE_DIR}/{name} is cut off")
    return content


def _bytes(store: Store, scan: Scan, name: str) -> int:
    stamp = store.stamp(scan.id, f"{IMAGE_DIR}/{name}")
    if stamp is None:
        raise _damaged(scan, f"{IMAGE_DIR}/{name} is gone")
    return stamp.size


def _whole(scan: Scan, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """What is read. Zstandard and the index of a shard say with these two that a checksum is another; other
    RuntimeErrors, as of a server that is being stopped, say nothing of the voxels."""
    try:
        return read()
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RuntimeError) and _OF_ZSTANDARD not in str(error):
            raise
        raise _damaged(scan, str(error)) from error


def _damaged(scan: Scan, found: str) -> ScanDamaged:
    return ScanDamaged(f"the stored voxels of scan {scan.id} ({scan.upload.filename}) are damaged: {found}")
