"""The segmentation of a scan in the store: an OME-Zarr pyramid that grows slab by slab, each file with its checksum.

Zarr takes a file that is not there for background. So Zarr reads no file of a result from the store itself: they are
fetched, compared with what was noted in the database when they were written, and handed to it in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.checksums import checksum, file_checksums
from scans.formats.ome_zarr_pyramid import Pyramid
from scans.formats.ome_zarr_slabs import Earlier, PyramidWriter
from scans.geometry import Box
from serving.queue.scan import Scan
from serving.segmentation.correction import Correction
from serving.storage import Attempt, DataDamaged, Store
from serving.storage.contract import RESULT_DIR

_AT_ONCE = 16
"""Files that are fetched together."""


class ResultDamaged(DataDamaged):
    """Files of a result are not as they were written, or are gone; it can be made again from the scan."""

    def __init__(self, scan_id: str, names: Sequence[str]) -> None:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        super().__init__(f"the result of scan {scan_id} is damaged: {names[0]}{more}")
        self.names = names
        """Files, relative to the result."""


class CorrectionDamaged(DataDamaged):
    """Files of a correction are not as they were written, or are gone; only who sent it can send it again."""

    def __init__(self, correction: Correction, names: Sequence[str]) -> None:
        version = f"version {correction.number} of the segmentation of scan {correction.scan_id}"
        super().__init__(f"{version} ({correction.sent.filename}) is damaged: {names[0]}; remove it and send it again")


def create_segmentation(scan_dir: Path, scan: Scan) -> Mapping[str, str]:
    """An empty segmentation in the folder of a scan that is about to be accepted; the checksums of its metadata."""
    create_pyramid(scan_dir / RESULT_DIR, scan)
    return file_checksums(scan_dir / RESULT_DIR, Pyramid.metadata_files(scan.shape))


class StoredSegmentation:
    """A finished segmentation, for reading: every byte of it is what was written, or ResultDamaged is raised."""

    def __init__(
        self, store: Store, scan: Scan, checksums: Mapping[str, str], *, correction: Correction | None = None
    ) -> None:
        """`checksums` as the database has them, by file; where it has none, as an earlier version left it, it is known
        only which files must be there. A `correction` is read in the place of the model's answer, by its own.
        """
        self._store = store
        self._scan = scan
        self._correction = correction
        self._checksums = checksums if correction is None else correction.checksums
        self._metadata = self._fetched(Pyramid.metadata_files(scan.shape))

    def sizes(self) -> dict[str, int]:
        """Bytes of each file by name; each is read for that, and is whole."""
        names, sizes = _names(self._scan), {}
        for first in range(0, len(names), _AT_ONCE):
            found = self._fetched(names[first : first + _AT_ONCE])
            sizes.update({name: len(content) for name, content in found.items()})
        return sizes

    def file(self, name: str) -> bytes:
        """One of its files."""
        return self._fetched([name])[name]

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Class indices of the slices [start, stop), uint8 (stop - start, Y, X)."""
        depth = self._scan.slab_slices
        slabs = range(start // depth, -(-stop // depth))
        shards = self._fetched([_shards(self._scan, number)[0] for number in slabs])
        return Pyramid.of_files({**self._metadata, **shards}).read(start, stop)

    def strided(self, box: Box, step: int) -> NDArray[np.uint8]:
        """Class indices at those voxels in a box whose z, y and x are multiples of `step`, a power of two.

        Of the pyramid's levels the coarsest is read that has them, and no more of it than the slabs that the box is in.
        """
        level = min(step.bit_length() - 1, Pyramid.level_count(self._scan.shape) - 1)
        stride, depth = step >> level, self._scan.slab_slices
        rows, columns = (slice(-(-a // step) * stride, -(-b // step) * stride, stride) for a, b in _pairs(box)[1:])
        planes = range(-(-box.start[0] // step), -(-box.stop[0] // step))
        counts = (-(-box.stop[axis] // step) - -(-box.start[axis] // step) for axis in (1, 2))
        found = np.empty((len(planes), *counts), np.uint8)
        by_group = itertools.groupby(planes, lambda plane: plane * step // depth // _AT_ONCE)
        for _, group in by_group:
            first, *rest = group
            last = rest[-1] if rest else first
            names = {
                Pyramid.shard_of(level, depth, plane * step, deep_levels=self._scan.deep_levels)
                for plane in (first, *rest)
            }
            pyramid = Pyramid.of_files({**self._metadata, **self._fetched(sorted(names))})
            part = pyramid.levels[level][first * stride : last * stride + 1 : stride, rows, columns]
            found[first - planes.start : last - planes.start + 1] = part
        return found

    def plane(self, along: int, index: int) -> NDArray[np.uint8]:
        """Class indices of the plane across axis z, y or x (0, 1, 2); of each slab no more than its chunks unpacked."""
        if along == 0:
            first: NDArray[np.uint8] = self.read(index, index + 1)[0]
            return first
        parts = []
        for number, box in enumerate(self._scan.boxes):
            files = {**self._metadata, **self._fetched(_shards(self._scan, number)[:1])}
            parts.append(Pyramid.of_files(files).plane(along, index, start=box.start[0], stop=box.stop[0]))
        return np.concatenate(parts)

    def slabs(self) -> Iterator[NDArray[np.uint8]]:
        """All class indices, slab by slab, upwards."""
        for box in self._scan.boxes:
            yield self.read(box.start[0], box.stop[0])

    def _fetched(self, names: Sequence[str]) -> dict[str, bytes]:
        place = RESULT_DIR if self._correction is None else self._correction.place
        found = self._store.read_result(self._scan.id, names, place=place)
        if wrong := [name for name in names if _wrong(name, found, self._checksums)]:
            if self._correction is not None:
                raise CorrectionDamaged(self._correction, wrong)
            raise ResultDamaged(self._scan.id, wrong)
        return found


def damaged_files(
    store: Store, scan: Scan, checksums: Mapping[str, str], *, whole: bool, place: str = RESULT_DIR
) -> list[str]:
    """Files of a result that are not as they were written, or are gone; `whole`: all of it must be there.

    `place` is that of a correction instead.
    """
    names = _names(scan) if whole else sorted(checksums)
    return [name for name in names if _wrong(name, store.read_result(scan.id, [name], place=place), checksums)]


def noted_files(scan: Scan, checksums: Mapping[str, str]) -> Mapping[str, str]:
    """Files that are written, with their checksums; empty ones where an earlier version noted none."""
    return checksums or dict.fromkeys(_names(scan), "")


def _names(scan: Scan) -> list[str]:
    """All files of a finished result."""
    shards = (name for number in range(len(scan.boxes)) for name in _shards(scan, number))
    return [*Pyramid.metadata_files(scan.shape), *shards]


def _shards(scan: Scan, number: int) -> list[str]:
    """That are written with a slab; the first is of the finest level."""
    return Pyramid.shard_files(scan.shape, scan.slab_slices, number, deep_levels=scan.deep_levels)


def _wrong(name: str, found: Mapping[str, bytes], checksums: Mapping[str, str]) -> bool:
    if name not in found:
        return True
    return bool(checksums) and checksum(found[name]) != checksums.get(name)


class SegmentationWriter:
    """One attempt at a scan: slabs are written in a folder of its own, then published, each level's shard whole."""

    def __init__(self, attempt: Attempt, folder: Path, scan: Scan, *, earlier: Earlier) -> None:
        """`folder` is empty, on a local disk, and this attempt's alone. `earlier` gives slabs that are done."""
        self._attempt = attempt
        self._folder = folder
        self._shape = scan.shape
        self._slabs = PyramidWriter(create_pyramid(folder, scan), earlier=earlier)

    def write(self, number: int, slab: NDArray[np.uint8]) -> Mapping[str, str]:
        """Slab `number`, uint8 (z, Y, X); it is durable when this returns. Gives the checksums of its shards.

        Raises Fenced where another attempt has begun or the scan is gone, and what `earlier` raises.
        """
        return self._published(self._slabs.write(number, slab))

    def write_metadata(self) -> Mapping[str, str]:
        """Writes anew what the result had when the scan was accepted; gives its checksums. Raises Fenced."""
        return self._published(Pyramid.metadata_files(self._shape))

    def _published(self, names: Sequence[str]) -> Mapping[str, str]:
        checksums = file_checksums(self._folder, names)
        self._attempt.publish(self._folder, names)
        return checksums


def _pairs(box: Box) -> list[tuple[int, int]]:
    """Where it begins and ends along each axis."""
    return list(zip(box.start, box.stop, strict=True))


def create_pyramid(folder: Path, scan: Scan) -> Pyramid:
    """An empty segmentation of a scan in a folder, which is made."""
    return Pyramid.create(
        folder,
        shape=scan.shape,
        dtype=np.uint8,
        frame=scan.frame,
        organs=scan.organs,
        slab_slices=scan.slab_slices,
        deep_levels=scan.deep_levels,
    )
