"""Writes the pyramid of a correction, slab by slab, and counts on the way what is in it and what is changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.checksums import file_checksums
from scans.formats.ome_zarr_pyramid import Pyramid
from scans.formats.ome_zarr_slabs import PyramidWriter
from scans.measures.metrics import OrganCounts
from scans.measures.statistics import OrganStatistics
from scans.organs import NOT_LABELLED
from serving.queue.scan import Scan
from serving.segmentation.correction import Findings
from serving.segmentation.stored_segmentation import StoredSegmentation, create_pyramid


def write_correction(
    folder: Path, labels: Path, scan: Scan, answered: StoredSegmentation
) -> tuple[Findings, Mapping[str, str]]:
    """Writes `folder` from the class indices in `labels`, one byte for each voxel of the scan, x fastest.

    Gives what was found in them, and the checksums of the files. Memory is that of a slab. Raises ResultDamaged where
    the model's answer is, ValueError for a class that the scan has not.
    """
    classes = scan.organs.classes
    writer, names = PyramidWriter(create_pyramid(folder, scan)), Pyramid.metadata_files(scan.shape)
    statistics, counts = OrganStatistics.empty(classes), _no_counts(len(scan.organs))
    digest, not_labelled = hashlib.sha256(), 0
    for (number, box), slab in zip(enumerate(scan.boxes), _slabs(labels, scan), strict=True):
        statistics += OrganStatistics.of(slab, box=box, classes=classes)
        counts += OrganCounts.of(answered.read(box.start[0], box.stop[0]), slab, classes=classes)
        not_labelled += int(np.count_nonzero(slab == NOT_LABELLED))
        digest.update(slab.data)
        names += writer.write(number, slab)
    return Findings(statistics, counts, not_labelled, digest.hexdigest()), file_checksums(folder, names)


def _slabs(labels: Path, scan: Scan) -> Iterator[NDArray[np.uint8]]:
    with labels.open("rb") as file:
        for box in scan.boxes:
            voxels = np.frombuffer(file.read(box.voxels), dtype=np.uint8)
            yield voxels.reshape(box.shape)


def _no_counts(organs: int) -> OrganCounts:
    none = np.zeros(organs, dtype=np.int64)
    return OrganCounts(none, none, none)
