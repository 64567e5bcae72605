"""Correction labels: a file of labels is read to its last voxel and brought onto the voxels of its scan."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scans.formats import FormatError
from scans.geometry import Frame, Triple
from scans.organs import NOT_LABELLED, OrganMap
from scans.raw.class_indices import as_text, class_indices
from scans.raw.placed_labels import LabelsElsewhere, Reading, open_labels
from scans.volume import Volume
from serving.intake.limits import Limits


class LabelsRefused(FormatError):
    """Labels that can be read, and are not those of the scan: of another grid, or with values that are no class."""


@dataclass(frozen=True)
class VerifiedLabels:
    """What a file of labels turned out to be when all of it was read."""

    notes: tuple[str, ...] = ()
    """What the sender should know of how the file was read."""


def verify_labels(
    path: Path,
    *,
    shape: Triple,
    frame: Frame,
    organs: OrganMap,
    dataset: str | None,
    copy: Path,
    limits: Limits,
    slab_slices: int,
    progress: Callable[[], None] = lambda: None,
) -> VerifiedLabels:
    """Writes the class index of each voxel of the scan to `copy`: uint8, without a header, x fastest.

    `shape`, `frame` and `organs` are the scan's. The file may have its axes in another order and direction, as viewers
    save them, and segments by the names of the organs. `progress` is called now and then.
    Raises LabelsRefused for other voxels than the scan's and for values that are no class, FormatError for a file that
    cannot be read, UploadTooLarge and OSError (ENOSPC) for one that is too large unpacked.
    """
    scan = Volume.from_array(np.broadcast_to(np.uint8(0), shape), frame)

    def check(labels: Volume) -> None:
        within = math.prod(labels.shape) <= math.prod(shape)  # labels pack better than scans, and the scan is here
        allowed = replace(limits, sent_bytes=None) if within else limits
        allowed.check_volume(labels.shape, labels.dtype, name=path.name)

    reading = Reading(check=check, progress=progress, spool_dir=copy.parent, by_name=True)
    try:
        with open_labels(path, scan, organs, dataset=dataset, reading=reading) as labels, copy.open("wb") as file:
            for box, slab in labels.slabs(slab_slices):
                indices, foreign = class_indices(slab, classes=organs.classes, not_labelled=True)
                if foreign:
                    slices = f"slices {box.start[0]} to {box.stop[0] - 1}"
                    raise LabelsRefused(path, f"it holds {as_text(foreign)} in {slices}", _classes(organs))
                file.write(np.ascontiguousarray(indices, dtype=np.uint8).data)
                progress()
            return VerifiedLabels(labels.notes)
    except LabelsElsewhere as error:
        raise LabelsRefused(path, f"it {error}", "labels on the voxels of the scan, in any order of the axes") from None


def _classes(organs: OrganMap) -> str:
    named = ", ".join(f"{organ.index}: {organ.name}" for organ in organs.organs)
    return f"0 for background, {named}, and {NOT_LABELLED} where nobody has looked"
