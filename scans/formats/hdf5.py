"""HDF5: a data set of three axes, read slab by slab.

Spacing comes from the data set's attributes: `element_size_um` (z, y, x in micrometres, as ilastik and Fiji write it),
or `spacing`, `element_size`, `voxel_size` or `resolution` with `unit` or `units`, one for all axes or one each.
`affine` (4 x 4, voxel index x, y, z to RAS+ mm), which Ricefish writes, places it as well.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from scans.formats.axes import leading_axes
from scans.formats.banded import BandedSource
from scans.formats.errors import FormatError, NoSpacing
from scans.formats.hdf5_choice import chosen_data_set
from scans.formats.hdf5_contents import require_readable_chunks, unwritten_slices
from scans.formats.hdf5_packed import PackedChunks, name_of
from scans.formats.polarity import high_is_bright
from scans.formats.sources import Opened, placed_frame
from scans.formats.units import unit_of
from scans.geometry import Frame, Spacing, Triple

_CACHE_BYTES = 64 << 20
_WHITE_IS_ZERO = "IMAGE_WHITE_IS_ZERO"
_SIZES = {"element_size_um": "um", "element_size": "", "spacing": "", "voxel_size": "", "resolution": ""}
"""Attributes that hold the spacing, and their unit; empty: it stands in `unit` or `units`."""


def open_hdf5(path: Path, stack: ExitStack, dataset: str | None = None) -> Opened:
    """An HDF5 file with a volume, the data set of that name where one is given.

    Raises FormatError that lists the data sets where there is none of that name, or where it cannot be told which.
    """
    file = stack.enter_context(h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES))
    data, notes = chosen_data_set(path, file, dataset)
    if data.is_virtual or data.external:
        raise FormatError(path, f"data set {name_of(data)} lies in other files", "voxels in the file itself")
    leading = leading_axes(data.shape) or 0
    require_readable_chunks(path, data)
    packed = PackedChunks.of(path, data, leading) if data.chunks else None
    source = BandedSource.of(path, _Hdf5Source(data, leading, packed), depth=data.chunks[leading] if data.chunks else 1)
    opened = replace(Opened.placed(source, partial(_frame, data), notes), unwritten=unwritten_slices(data, leading))
    if not _white_is_zero(data):
        return opened
    return high_is_bright(opened, _WHITE_IS_ZERO, bits=8 * data.dtype.itemsize)


def _white_is_zero(data: h5py.Dataset) -> bool:
    """As HDF5's own specification of images has it."""
    return bool(np.any(np.ravel(data.attrs.get(_WHITE_IS_ZERO, 0)) == 1))


def _frame(data: h5py.Dataset) -> Frame:
    affine = data.attrs.get("affine")
    written = Frame.from_affine(np.asarray(affine)) if np.shape(affine) == (4, 4) else None
    try:
        sized = _sized(data)
    except NoSpacing:
        if written is None:
            raise
        return written
    agree = written and np.allclose(list(written.spacing), list(sized.spacing), rtol=1e-4)
    return written if written and agree else sized


def _sized(data: h5py.Dataset) -> Frame:
    """The frame of the first attribute that states z, y, x and their unit. Raises NoSpacing."""
    for name, unit in _SIZES.items():
        values = data.attrs.get(name)
        stated = unit or data.attrs.get("unit", data.attrs.get("units"))
        if np.shape(values) != (3,) or stated is None:
            continue
        units = [unit_of(text) for text in _texts(stated)]
        z, y, x = (float(value) * one.mm for value, one in zip(values, units, strict=True))
        what = f"data set {name_of(data)}: {name} {', '.join(f'{value:.6g}' for value in values)}"
        return placed_frame(what, partial(_along_axes, z, y, x))
    raise NoSpacing(f"data set {name_of(data)} has no attribute element_size_um, or spacing with a unit")


def _along_axes(z: float, y: float, x: float) -> Frame:
    return Frame.from_lps(Spacing(z, y, x))


def _texts(stated: Any) -> list[str]:
    """A unit for each of three axes, of an attribute that holds one or three."""
    found = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in np.ravel(stated)]
    return found * 3 if len(found) == 1 else found[:3] if len(found) >= 3 else [""] * 3


@dataclass(frozen=True)
class _Hdf5Source:
    data: h5py.Dataset
    leading: int
    """Axes of size 1 before z."""
    packed: PackedChunks | None
    """Chunks to be looked at before HDF5 unpacks them."""

    @property
    def shape(self) -> Triple:
        z, y, x = self.data.shape[self.leading : self.leading + 3]
        return (z, y, x)

    @property
    def dtype(self) -> np.dtype[Any]:
        stored: np.dtype[Any] = self.data.dtype
        return stored

    def read(self, start: int, stop: int) -> NDArray[Any]:
        if self.packed:
            self.packed.require_bounded(start, stop)
        index = (0,) * self.leading + (slice(start, stop),)
        return np.asarray(self.data[index]).reshape(stop - start, *self.shape[1:])
