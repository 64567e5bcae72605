"""A finished segmentation as a DICOM Segmentation of the series that the scan came as."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from scans.checksums import checksum
from scans.formats.errors import NotSegmentable
from scans.organs import BACKGROUND, NOT_LABELLED
from serving.inference.memory_budget import MemoryBudget
from serving.queue.scan import Scan
from serving.segmentation.correction import Correction
from serving.segmentation.source_headers import SOURCE_HEADERS
from serving.segmentation.stored_segmentation import StoredSegmentation
from serving.segmentation.stored_voxels import ScanDamaged
from serving.storage import Store

if TYPE_CHECKING:
    from scans.formats.dicom_series import DicomSeries

_PIECE_BYTES = 1 << 20


def read_source_headers(store: Store, scan: Scan) -> DicomSeries:
    """What was kept of the headers of a scan's series. Raises NotSegmentable where nothing was, and ScanDamaged."""
    from scans.formats.dicom_series import DicomSeries  # noqa: PLC0415  pydicom, which a server begins without

    if scan.source_headers is None:
        raise NotSegmentable(
            f"nothing is known of a DICOM series of scan {scan.id} ({scan.upload.filename}), to whose slices a DICOM "
            "segmentation refers: it did not come as one, its slices do not say where they lie, or it came to an "
            "earlier version and can be posted again with fresh=true. Fetch it as nii.gz, nrrd, tif or ome-zarr"
        )
    try:
        content = store.read_file(scan.id, SOURCE_HEADERS)
        if checksum(content) != scan.source_headers:
            raise ValueError("they are not what was written")
        return DicomSeries.from_json(content)
    except (FileNotFoundError, ValueError) as error:
        raise ScanDamaged(f"the kept DICOM headers of scan {scan.id} are damaged: {error}") from error


class DicomResults:
    """Makes them: of the largest that there may be one at a time. Safe to use from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._budget = MemoryBudget()

    def made(self, scan: Scan, segmentation: StoredSegmentation, correction: Correction | None = None) -> bytes:
        """The file, of the model's answer or a correction; each is an object of its own.

        Raises NotSegmentable before a voxel is read where that is known then, and DataDamaged.
        """
        from scans.formats import dicom_segmentation as dicom  # noqa: PLC0415  as in `read_source_headers`

        series = read_source_headers(self._store, scan)
        dicom.require_segmentable(series, scan.shape)
        seconds, entropy = scan.created_seconds, f"{scan.id} {scan.model.sha256}"
        if correction is not None:
            seconds, entropy = correction.created_seconds, f"{entropy} {correction.id}"
        made, by_people = datetime.fromtimestamp(seconds, UTC), correction is not None
        by = dicom.Authorship(scan.model.name, scan.model.shown_version, made, entropy, corrected=by_people)
        needed = dicom.needed_bytes(scan.shape, len(scan.organs))
        with self._budget.taken(needed / dicom.MOST_BYTES):
            labels = np.empty(scan.shape, np.uint8)
            for box, slab in zip(scan.boxes, segmentation.slabs(), strict=True):
                labels[box.slices] = np.where(slab == NOT_LABELLED, np.uint8(BACKGROUND), slab)
            return dicom.dicom_segmentation(labels, scan.organs.organs, series, by)


def in_pieces(content: bytes) -> Iterator[bytes]:
    """Bytes as they are sent."""
    view = memoryview(content)
    return (bytes(view[start : start + _PIECE_BYTES]) for start in range(0, len(view), _PIECE_BYTES))
