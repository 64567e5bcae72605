"""Label volumes as anybody has them: class indices with the organs that they are of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats import FormatError, open_segments, open_volume
from scans.formats.stated_labels import stated_organs
from scans.geometry import Spacing, Triple
from scans.organs import NOT_LABELLED, OrganMap
from scans.volume import Volume, Voxels

_NAMES_WANTED = (
    "a file that names its labels (.seg.nrrd, or written by Ricefish), a label description of ITK-SNAP beside it, "
    "NAME_labels.txt, or --organs organs.yaml"
)
_BESIDE_SCAN = ("labels", "segmentation")
"""Where an OME-Zarr that holds a scan has the labels of its organs."""


@contextmanager
def open_label_volume(
    path: Path, *, organs: OrganMap | None = None, spacing: Spacing | None = None
) -> Iterator[tuple[Volume, OrganMap]]:
    """A label volume, lazy, uint8, and its organs: those that are given, else those that its file or one beside it
    names.

    `spacing` is for files that state none. Raises FormatError where nothing names the labels, SpacingMissing where a
    spacing is needed, and, also when it is read, FormatError for what is not whole numbers from 0 to 255.
    """
    inside = path.joinpath(*_BESIDE_SCAN)
    place = inside if inside.is_dir() else path
    named = organs or stated_organs(place)
    if named is None:
        raise FormatError(path, "nothing says which organs its labels are", _NAMES_WANTED)
    with ExitStack() as stack:
        volume = None if place.is_dir() else stack.enter_context(open_segments(place, named))
        if volume is None:
            volume = stack.enter_context(open_volume(place, spacing=spacing, labels=True))
        yield replace(volume, voxels=_ClassIndices(path, volume.voxels)), named


@dataclass(frozen=True)
class _ClassIndices:
    """Voxels of any type that hold whole numbers, as uint8."""

    path: Path
    voxels: Voxels

    @property
    def shape(self) -> Triple:
        return self.voxels.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    @property
    def plain(self) -> bool:
        return self.voxels.plain

    def read(self, start: int, stop: int) -> NDArray[Any]:
        stored = self.voxels.read(start, stop)
        if stored.dtype == np.uint8:
            return stored
        whole = stored.astype(np.uint8)
        if not np.array_equal(whole, stored):
            value = stored[whole != stored].flat[0]
            found = f"a voxel of slices {start} to {stop - 1} holds {value:g}, as a scan does"
            raise FormatError(self.path, found, f"labels: whole numbers from 0 to {NOT_LABELLED - 1}")
        return whole
