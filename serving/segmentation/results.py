"""Results: a finished segmentation as a stream of bytes in any format, and single slices of it as pictures."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from scans.formats import DICOM_SEG, DOWNLOADS, stem, stream_volume
from scans.formats.zip_stream import ZipEntry, zip_bytes, zip_stream
from scans.measures.statistics import OrganStatistics
from scans.organs import BACKGROUND, NOT_LABELLED, OrganMap
from serving.inference.memory_budget import MemoryBudget
from serving.observability import logs
from serving.queue.jobs import Job, Jobs
from serving.queue.scan import Scan
from serving.segmentation.correction import MODELS_ANSWER, Correction
from serving.segmentation.dicom_results import DicomResults, in_pieces
from serving.segmentation.labelled_image import labelled_image
from serving.segmentation.organ_surfaces import OrganSurfaces, SegmentedOrgans, SurfaceFormat, organ_box, organ_named
from serving.segmentation.pictures import PictureStyle, png, proportions
from serving.segmentation.served_files import FileDamaged, KeptPyramid, ServedFile, ServedFiles
from serving.segmentation.stored_segmentation import ResultDamaged, StoredSegmentation
from serving.segmentation.stored_voxels import open_voxels
from serving.storage import DataDamaged, Store
from serving.storage.contract import RESULT_DIR

Axis = Literal["z", "y", "x"]

OME_ZARR = "ome-zarr"
IMAGE_SUFFIXES = {"nii.gz": ".nii.gz", "nrrd": ".nrrd", "tif": ".tif"}
"""Of the formats in which a scan can be fetched, by what a request calls them."""
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
        self._surfaces = OrganSurfaces()
        self._dicom = DicomResults(store)
        self._files = ServedFiles(store)

    def download(
        self,
        scan: Scan,
        job: Job,
        format_name: str,
        *,
        with_scan: bool = False,
        correction: Correction | None = None,
    ) -> Download:
        """The segmentation with the frame of the scan, named after the scan's file; in OME-Zarr also beside the scan.

        It is the model's answer, or a correction of it.

        Raises UnknownFormat, NotSegmentable for a scan of which there can be no DICOM segmentation, and DataDamaged
        once all of the segmentation was looked at.
        """
        if format_name not in DOWNLOADS:
            raise UnknownFormat(f"format is {format_name!r}; a segmentation can be fetched as {', '.join(DOWNLOADS)}")
        if with_scan and format_name != OME_ZARR:
            raise UnknownFormat(f"scan is true and format {format_name!r}; the scan can be fetched with {OME_ZARR}")
        sent = DOWNLOADS[format_name]
        suffix = sent.suffixes[0]
        version = "" if correction is None else f"_{correction.number}"
        name = f"{stem(Path(scan.upload.filename))}_segmentation{version}{suffix}"
        if format_name == DICOM_SEG.name:
            with self._remaking(scan):
                content = self._dicom.made(scan, self._segmentation(scan, job, correction), correction)
            return Download(name, sent.media_type, len(content), in_pieces(content))
        with self._remaking(scan):
            segmentation = self._segmentation(scan, job, correction)
            sizes = segmentation.sizes()
        length = None
        if format_name == OME_ZARR:
            entries = [ZipEntry(name, size, _opener(segmentation, name)) for name, size in sizes.items()]
            if with_scan:
                with self._remaking(scan):
                    entries = labelled_image(open_voxels(self._store, scan), entries)
            length, pieces = zip_bytes(entries), zip_stream(entries)
        else:
            pieces = _converted(segmentation.slabs(), scan, suffix, dtype=np.dtype(np.uint8), organs=scan.organs)
        return Download(name, sent.media_type, length, self._sent(scan, pieces))

    def mask(self, scan: Scan, job: Job, index: int) -> NDArray[np.uint8]:
        """Class indices of a slice across z, uint8 (Y, X). Raises as `picture`."""
        _require_slice(scan, 0, index)
        with self._pictures.taken(scan.slab_bytes / _MOST_PICTURE_BYTES), self._remaking(scan):
            return self._segmentation(scan, job, None).plane(0, index)

    @contextmanager
    def answered(self, scan: Scan, job: Job) -> Iterator[StoredSegmentation]:
        """What the model has answered, for reading within. Raises ResultDamaged, and has it made again then."""
        with self._remaking(scan):
            yield self._segmentation(scan, job, None)

    def image(self, scan: Scan, format_name: str) -> Download:
        """The grey values of the scan, with its frame, as they were accepted.

        Raises UnknownFormat, and ScanDamaged before the first byte where its files are gone.
        """
        if format_name not in IMAGE_SUFFIXES:
            accepted = f"{', '.join(IMAGE_SUFFIXES)}, or, with its segmentation, as {OME_ZARR}"
            raise UnknownFormat(f"format is {format_name!r}; a scan can be fetched as {accepted}")
        with self._remaking(scan):
            voxels = open_voxels(self._store, scan)
        suffix = IMAGE_SUFFIXES[format_name]
        pieces = _converted(voxels.slabs(), scan, suffix, dtype=np.dtype(scan.dtype), organs=None)
        name = f"{stem(Path(scan.upload.filename))}{suffix}"
        return Download(name, DOWNLOADS[format_name].media_type, None, self._sent(scan, pieces))

    def picture(
        self,
        scan: Scan,
        job: Job,
        axis: Axis,
        index: int,
        *,
        style: PictureStyle,
        correction: Correction | None = None,
    ) -> bytes:
        """PNG of a slice with its organs, as wide and high as it is in mm: the model's, or those of a correction.

        Raises SliceNotFound for an index beyond the scan, and DataDamaged.
        Of the scan the chunks of that plane are read, of the segmentation the files of one slab after another.
        """
        along = "zyx".index(axis)
        _require_slice(scan, along, index)
        down, across = (step for number, step in enumerate(scan.frame.spacing) if number != along)
        with self._pictures.taken(_picture_bytes(scan, along, (down, across)) / _MOST_PICTURE_BYTES):
            with self._remaking(scan):
                grey = open_voxels(self._store, scan).plane(along, index)
                organs = self._segmentation(scan, job, correction).plane(along, index)
            organs = np.where(organs == NOT_LABELLED, np.uint8(BACKGROUND), organs)
            return png(grey, organs, spacing_mm=(down, across), window=scan.window, organs=scan.organs, style=style)

    def stored_file(self, scan: Scan, pyramid: KeptPyramid, name: str, *, compare: bool = True) -> ServedFile | None:
        """A file of a pyramid as it is stored, by its name there; None where it has none of that name (yet).

        Raises NotCompared as `ServedFiles.find`.
        """
        with self._remaking(scan), self._as_damaged(scan.id):
            return self._files.find(scan.id, pyramid.place, name, pyramid.checksums, compare=compare)

    def stored_pieces(self, scan: Scan, file: ServedFile, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of it, piece by piece."""
        with self._remaking(scan), self._as_damaged(scan.id):
            yield from self._files.pieces(file, start, stop)

    @contextmanager
    def _as_damaged(self, scan_id: str) -> Iterator[None]:
        """What the model has answered can be made again."""
        try:
            yield
        except FileDamaged as damaged:
            place, _, name = damaged.file.partition("/")
            if place == RESULT_DIR:
                raise ResultDamaged(scan_id, [name]) from damaged
            raise

    def surface(
        self, scan: Scan, job: Job, name: str, kind: SurfaceFormat, *, correction: Correction | None = None
    ) -> bytes:
        """The surface of one organ, by its name or class index, as a file.

        Raises SurfaceNotFound where the scan has none of it, and DataDamaged.
        """
        with self._remaking(scan):
            return self._surfaces.file(self._segmented(scan, job, correction), name, kind)

    def surfaces(self, scan: Scan, job: Job, *, correction: Correction | None = None) -> bytes:
        """The surfaces of all organs that the scan has, as one GLB. Raises SurfaceNotFound and DataDamaged."""
        with self._remaking(scan):
            return self._surfaces.all(self._segmented(scan, job, correction))

    def fragments(self, scan: Scan, job: Job, index: int, *, correction: Correction | None = None) -> list[str]:
        """Files of the mesh of an organ, by its class index, in Neuroglancer's format; none where it was not found.

        Nothing is read for it. Raises SurfaceNotFound for an index that the scan's model has not.
        """
        organ = organ_named(scan.organs, str(index))
        statistics = _statistics(scan, job, correction)
        return [] if organ_box(statistics, scan, organ) is None else [f"{index}.mesh"]

    def _segmented(self, scan: Scan, job: Job, correction: Correction | None) -> SegmentedOrgans:
        statistics = _statistics(scan, job, correction)
        version = MODELS_ANSWER if correction is None else correction.number
        return SegmentedOrgans(scan, statistics, self._segmentation(scan, job, correction), version=version)

    def _segmentation(self, scan: Scan, job: Job, correction: Correction | None) -> StoredSegmentation:
        return StoredSegmentation(self._store, scan, job.checksums, correction=correction)

    @contextmanager
    def _remaking(self, scan: Scan) -> Iterator[None]:
        """Has a result made again that is found damaged within. Raises ScanNotFound where its scan is removed."""
        try:
            yield
        except (DataDamaged, FileNotFoundError) as damaged:
            self._jobs.scan(scan.id)
            self._store.check()  # one that is away for a moment has lost nothing
            if isinstance(damaged, ResultDamaged) and self._jobs.remake(scan.id, f"{damaged}; it is being made again"):
                logs.event("result_damaged", level=logging.ERROR, scan=scan.id, files=len(damaged.names), error=damaged)
            raise

    def _sent(self, scan: Scan, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with self._remaking(scan):
            yield from pieces


def _statistics(scan: Scan, job: Job, correction: Correction | None) -> OrganStatistics:
    known = job.statistics if correction is None else correction.findings.statistics
    return known or OrganStatistics.empty(scan.organs.classes)


def _require_slice(scan: Scan, along: int, index: int) -> None:
    axis, count = "zyx"[along], scan.shape[along]
    if not 0 <= index < count:
        raise SliceNotFound(f"slice {axis}={index}; the scan has {axis}=0 to {axis}={count - 1}")


def _picture_bytes(scan: Scan, along: int, spacing_mm: tuple[float, float]) -> int:
    """About as many as it takes: the slab that is read for it, with its class indices, and the picture itself."""
    shape = tuple(count for number, count in enumerate(scan.shape) if number != along)
    rows, columns, _ = proportions(shape, spacing_mm)
    return 2 * scan.slab_bytes + _DRAWING_BYTES * max(math.prod(shape), rows * columns)


def _opener(segmentation: StoredSegmentation, name: str) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(segmentation.file(name))


def _converted(
    slabs: Iterable[NDArray[Any]], scan: Scan, suffix: str, *, dtype: np.dtype[Any], organs: OrganMap | None
) -> Iterator[bytes]:
    outgoing = _Outgoing()
    with stream_volume(
        outgoing, suffix=suffix, shape=scan.shape, dtype=dtype, frame=scan.frame, organs=organs
    ) as writer:
        for slab in slabs:
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
