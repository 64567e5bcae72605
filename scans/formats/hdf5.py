"""HDF5: a data set of three axes, read slab by slab.

Spacing comes from the data set's attributes: `element_size_um` (z, y, x in micrometres, as ilastik and Fiji write it),
or `spacing` with a `unit`. `affine` (4 x 4, voxel index x, y, z to RAS+ mm), which Ricefish writes, places it as well.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from scans.formats.banded import BandedSource
from scans.formats.errors import FormatError
from scans.formats.hdf5_choice import chosen_data_set, leading_axes
from scans.formats.hdf5_contents import require_sensible_chunks
from scans.formats.sources import Opened
from scans.formats.textheader import to_mm
from scans.geometry import Frame, Spacing, Triple

_CACHE_BYTES = 64 << 20


def open_hdf5(path: Path, stack: ExitStack, dataset: str | None = None) -> Opened:
    """An HDF5 file with a volume, the data set of that name where one is given.

    Raises FormatError that lists the data sets where there is none of that name, or where it cannot be told which.
    """
    file = stack.enter_context(h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES))
    data, notes = chosen_data_set(path, file, dataset)
    if data.is_virtual or data.external:
        raise FormatError(path, f"data set {data.name} lies in other files", "voxels in the file itself")
    leading = leading_axes(data.shape) or 0
    require_sensible_chunks(path, data)
    source = BandedSource.of(path, _Hdf5Source(data, leading), depth=data.chunks[leading] if data.chunks else 1)
    without_spacing = f"data set {data.name} has no attribute element_size_um"
    return Opened(source, _frame(path, data), without_spacing, notes)


def _frame(path: Path, data: h5py.Dataset) -> Frame | None:
    spacing = _spacing(path, data)
    affine = data.attrs.get("affine")
    if affine is not None and np.shape(affine) == (4, 4):
        written = Frame.from_affine(np.asarray(affine))
        if spacing is None or np.allclose(list(written.spacing), list(spacing), rtol=1e-4):
            return written
    return Frame.from_lps(spacing) if spacing else None


def _spacing(path: Path, data: h5py.Dataset) -> Spacing | None:
    for name, unit in (("element_size_um", "um"), ("spacing", data.attrs.get("unit", data.attrs.get("units")))):
        values = data.attrs.get(name)
        if values is None or unit is None or np.shape(values) != (3,):
            continue
        text = unit.decode("utf-8") if isinstance(unit, bytes) else str(unit)
        z, y, x = (float(value) * to_mm(path, text) for value in values)
        try:
            return Spacing(z, y, x)
        except ValueError:
            return None
    return None


@dataclass(frozen=True)
class _Hdf5Source:
    data: h5py.Dataset
    leading: int
    """Axes of size 1 before z."""

    @property
    def shape(self) -> Triple:
        z, y, x = self.data.shape[self.leading : self.leading + 3]
        return (z, y, x)

    @property
    def dtype(self) -> np.dtype[Any]:
        stored: np.dtype[Any] = self.data.dtype
        return stored

    def read(self, start: int, stop: int) -> NDArray[Any]:
        index = (0,) * self.leading + (slice(start, stop),)
        return np.asarray(self.data[index]).reshape(stop - start, *self.shape[1:])
