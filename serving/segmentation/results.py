"""Results: a finished segmentation as a stream of bytes in any format, and single slices of it as pictures."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from scans.formats import DOWNLOADS, stem, stream_volume
from scans.formats.zip_stream import ZipEntry, zip_bytes, zip_stream
from serving.inference.memory_budget import MemoryBudget
from serving.observability import logs
from serving.queue.jobs import Job, Jobs
from serving.queue.scan import Scan
from serving.segmentation.labelled_image import labelled_image
from serving.segmentation.pictures import PictureStyle, png, proportions
from serving.segmentation.served_files import FileDamaged, ServedFile, ServedFiles
from serving.segmentation.stored_segmentation import ResultDamaged, StoredSegmentation, noted_files
from serving.segmentation.stored_voxels import open_voxels
from serving.storage import DataDamaged, Store
from serving.storage.contract import RESULT_DIR

Axis = Literal["z", "y", "x"]

OME_ZARR = "ome-zarr"
_MOST_PICTURE_BYTES = 1 << 30
"""That the pictures which are made at once may take: there are threads for many."""
_DRAWING_BYTES = 13
"""For each pixel of a picture."""


class SliceNotFound(LookupError):
    """A slice index beyond the scan."""


class UnknownFormat(ValueError):
    """A format in which a segmentation cannot be fetched, or not with its scan."""


@dataclass(frozen=True)
class Download:
    """A file that is made while it is sent."""

    filename: str
    media_type: str
    length: int | None
    """Bytes; None where nobody knows before the last one."""
    pieces: Iterator[bytes]


class Results:
    """Makes what is fetched from what is stored, as it was written; memory is that of one slab.

    A result that is found damaged is queued to be made again, and none of it is handed out: ResultDamaged is raised
    before the first byte, or, should it be damaged while it is sent, before the last one. What is gone since its scan
    was removed is not damaged: ScanNotFound is raised.
    """

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._pictures = MemoryBudget()
        self._files = ServedFiles(store)

    def download(self, scan: Scan, job: Job, format_name: str, *, with_scan: bool = False) -> Download:
        """The segmentation with the frame of the scan, named after the scan's file; in OME-Zarr also beside the scan.

        Raises UnknownFormat, and DataDamaged once all of the segmentation was looked at.
        """
        if format_name not in DOWNLOADS:
            raise UnknownFormat(f"format is {format_name!r}; a segmentation can be fetched as {', '.join(DOWNLOADS)}")
        if with_scan and format_name != OME_ZARR:
            raise UnknownFormat(f"scan is true and format {format_name!r}; the scan can be fetched with {OME_ZARR}")
        sent = DOWNLOADS[format_name]
        suffix = sent.suffixes[0]
        with self._remaking(scan):
            segmentation = StoredSegmentation(self._store, scan, job.checksums)
            sizes = segmentation.sizes()
        length = None
        if format_name == OME_ZARR:
            entries = [ZipEntry(name, size, _opener(segmentation, name)) for name, size in sizes.items()]
            length = None if with_scan else zip_bytes(entries)
            pieces = self._labelled(scan, entries) if with_scan else zip_stream(entries)
        else:
            pieces = _converted(segmentation, scan, suffix)
        name = f"{stem(Path(scan.upload.filename))}_segmentation{suffix}"
        return Download(name, sent.media_type, length, self._sent(scan, pieces))

    def mask(self, scan: Scan, job: Job, index: int) -> NDArray[np.uint8]:
        """Class indices of a slice across z, uint8 (Y, X). Raises as `picture`."""
        _require_slice(scan, 0, index)
        with self._pictures.taken(scan.slab_bytes / _MOST_PICTURE_BYTES), self._remaking(scan):
            mask: NDArray[np.uint8] = StoredSegmentation(self._store, scan, job.checksums).read(index, index + 1)[0]
            return mask

    def picture(self, scan: Scan, job: Job, axis: Axis, index: int, *, style: PictureStyle) -> bytes:
        """PNG of a slice with its organs, as wide and high as it is in mm.

        Raises SliceNotFound for an index beyond the scan, and DataDamaged.
        Slices across z take one slab; across y and x, the whole scan is passed through, slab by slab.
        """
        along = "zyx".index(axis)
        _require_slice(scan, along, index)
        down, across = (step for number, step in enumerate(scan.frame.spacing) if number != along)
        with self._pictures.taken(_picture_bytes(scan, along, (down, across)) / _MOST_PICTURE_BYTES):
            with self._remaking(scan), open_voxels(self._store, scan) as voxels:
                segmentation = StoredSegmentation(self._store, scan, job.checksums)
                if along == 0:
                    grey, organs = voxels.plane(index), segmentation.read(index, index + 1)[0]
                else:
                    grey, organs = _across(voxels.slabs(), along, index), _across(segmentation.slabs(), along, index)
            return png(grey, organs, spacing_mm=(down, across), window=scan.window, organs=scan.organs, style=style)

    def stored_file(self, scan: Scan, job: Job, name: str) -> ServedFile | None:
        """A file of the segmentation as it is stored, by its name there; None where it has none of that name (yet)."""
        with self._remaking(scan), self._as_damaged(scan.id):
            return self._files.find(scan.id, RESULT_DIR, name, noted_files(scan, job.checksums))

    def stored_pieces(self, scan: Scan, file: ServedFile, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of it, piece by piece."""
        with self._remaking(scan), self._as_damaged(scan.id):
            yield from self._files.pieces(file, start, stop)

    @contextmanager
    def _as_damaged(self, scan_id: str) -> Iterator[None]:
        try:
            yield
        except FileDamaged as damaged:
            raise ResultDamaged(scan_id, [damaged.file.removeprefix(f"{RESULT_DIR}/")]) from damaged

    def _labelled(self, scan: Scan, labels: Sequence[ZipEntry]) -> Iterator[bytes]:
        with self._remaking(scan), open_voxels(self._store, scan):
            pass  # where its file is gone, that is said before the first byte
        return _labelled(self._store, scan, labels)

    @contextmanager
    def _remaking(self, scan: Scan) -> Iterator[None]:
        """Has a result made again that is found damaged within. Raises ScanNotFound where its scan is removed."""
        try:
            yield
        except (DataDamaged, FileNotFoundError) as damaged:
            self._jobs.scan(scan.id)
            if isinstance(damaged, ResultDamaged) and self._jobs.remake(scan.id, f"{damaged}; it is being made again"):
                logs.event("result_damaged", level=logging.ERROR, scan=scan.id, files=len(damaged.names), error=damaged)
            raise

    def _sent(self, scan: Scan, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with self._remaking(scan):
            yield from pieces


def _require_slice(scan: Scan, along: int, index: int) -> None:
    axis, count = "zyx"[along], scan.shape[along]
    if not 0 <= index < count:
        raise SliceNotFound(f"slice {axis}={index}; the scan has {axis}=0 to {axis}={count - 1}")


def _picture_bytes(scan: Scan, along: int, spacing_mm: tuple[float, float]) -> int:
    """About as many as it takes: the slab that is read for it, with its class indices, and the picture itself."""
    shape = tuple(count for number, count in enumerate(scan.shape) if number != along)
    rows, columns, _ = proportions(shape, spacing_mm)
    return 2 * scan.slab_bytes + _DRAWING_BYTES * max(math.prod(shape), rows * columns)


def _labelled(store: Store, scan: Scan, labels: Sequence[ZipEntry]) -> Iterator[bytes]:
    with open_voxels(store, scan) as voxels:
        yield from labelled_image(scan, voxels.slabs(), labels)


def _opener(segmentation: StoredSegmentation, name: str) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(segmentation.file(name))


def _converted(segmentation: StoredSegmentation, scan: Scan, suffix: str) -> Iterator[bytes]:
    outgoing = _Outgoing()
    with stream_volume(
        outgoing, suffix=suffix, shape=scan.shape, dtype=np.uint8, frame=scan.frame, organs=scan.organs
    ) as writer:
        for slab in segmentation.slabs():
            writer.write(slab)
            del slab  # whoever fetches it may be slow
            yield outgoing.taken()
    yield outgoing.taken()


class _Outgoing(io.BytesIO):
    """Where a format is written: holds what has not been sent yet."""

    def taken(self) -> bytes:
        piece = self.getvalue()
        self.seek(0)
        self.truncate()
        return piece


def _across(slabs: Iterator[NDArray[Any]], along: int, index: int) -> NDArray[Any]:
    return np.concatenate([slab.take(index, axis=along) for slab in slabs])
