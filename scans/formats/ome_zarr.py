"""OME-Zarr 0.4 (Zarr v2) and 0.5 (Zarr v3), a folder or a .zip, read slab by slab at full resolution.

Axes t and c are dropped where their size is 1. The translation is taken as the origin in LPS+; `ricefish.affine`
(4 x 4, voxel index x, y, z to RAS+ mm), which Ricefish writes beside the OME metadata, gives the direction as well.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from ome_zarr_models.v04.multiscales import Multiscale as Multiscale04
from ome_zarr_models.v05.multiscales import Multiscale as Multiscale05
from pydantic import ValidationError
from zarr.storage import LocalStore, ZipStore

from scans.formats.banded import BandedSource
from scans.formats.entries import LARGEST_ENTRY, ZipEntries
from scans.formats.errors import ONE_VOLUME, FormatError, NoSpacing
from scans.formats.ome_zarr_pyramid import OME_ZARR_UNITS
from scans.formats.sources import Opened, native_dtype, placed_frame
from scans.formats.units import unit_of
from scans.formats.zarr_chunks import slices_without_chunks, with_missing
from scans.formats.zarr_codecs import bounded
from scans.geometry import Frame, Spacing, StatedUnits, Triple

OME_ZARR = "an OME-Zarr image, version 0.4 or 0.5"

_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
_LARGEST_METADATA = 4 << 20
_USUALLY_AT_ONCE = 10
_AT_ONCE_BYTES = 512 << 20
"""Of chunks that are unpacked at the same time."""
_MOST_GROUPS = 1000
"""In a group that is no image itself, and is searched for one."""

Multiscale = Multiscale04 | Multiscale05


def open_ome_zarr(path: Path) -> Opened:
    """An OME-Zarr folder. Raises FormatError for a group without valid OME metadata, channels and time series."""
    below = [entry.name for entry in os.scandir(path)]
    return _open(path, _group(_CheckedFolder(path, read_only=True)), below)


def open_ome_zarr_zip(entries: ZipEntries, root: str, stack: ExitStack) -> Opened:
    """An OME-Zarr in an archive, below `root`, which is a name as zipfile has it."""
    below = set()
    for known, member in entries.members.items():
        name = member.filename
        entries.require_bounded(known, most=_LARGEST_METADATA if name.rpartition("/")[2] in _METADATA else None)
        if name.startswith(f"{root}/" if root else ""):
            below.add(name[len(root) :].lstrip("/").partition("/")[0])
    store = ZipStore(entries.path, mode="r")
    stack.callback(store.close)
    return _open(entries.path, _group(store, root), below)


class _CheckedFolder(LocalStore):
    """A folder of which nothing is read that is larger than it may be."""

    async def get(self, key: str, *arguments: Any, **named: Any) -> Any:
        place = self.root / key
        most = _LARGEST_METADATA if place.name in _METADATA else LARGEST_ENTRY
        if place.is_file() and (size := place.stat().st_size) > most:
            raise FormatError(self.root, f"{key} has {size} bytes", f"at most {most} in such a file")
        return await super().get(key, *arguments, **named)


def _group(store: LocalStore | ZipStore, root: str = "") -> zarr.Group:
    return zarr.open_group(store, path=root, mode="r", use_consolidated=False)


def _open(path: Path, group: zarr.Group, below: Collection[str]) -> Opened:
    """The image of a group, below which these names are."""
    image = _image_group(path, group, below)
    multiscale = _multiscale(path, image)
    array = image[str(multiscale.datasets[0].path)]
    if not isinstance(array, zarr.Array):
        raise FormatError(path, f"{multiscale.datasets[0].path} is not an array", OME_ZARR)
    axes = _spatial_axes(path, multiscale, array)
    native_dtype(path, np.dtype(array.dtype))
    array = bounded(path, array)
    source = BandedSource.of(path, _ZarrSource(array, tuple(axes)), depth=array.chunks[axes[0]])
    opened = Opened.placed(source, partial(_frame, path, image, multiscale, axes))
    return with_missing(opened, slices_without_chunks(array, axes[0]))


def _image_group(path: Path, group: zarr.Group, below: Collection[str]) -> zarr.Group:
    if _metadata(group) is not None:
        return group
    if len(below) > _MOST_GROUPS:
        raise FormatError(path, f"{len(below)} groups or files in a Zarr without OME metadata", OME_ZARR)
    inside = {name: child for name, child in group.groups() if _metadata(child) is not None}
    if len(inside) != 1:
        found = f"{len(inside)} images in one OME-Zarr: {', '.join(inside)}" if inside else "Zarr without OME metadata"
        raise FormatError(path, found, OME_ZARR)
    return next(iter(inside.values()))


def _metadata(group: zarr.Group) -> Any:
    ome = group.attrs.get("ome", {})
    return (ome.get("multiscales") if isinstance(ome, dict) else None) or group.attrs.get("multiscales")


def _multiscale(path: Path, group: zarr.Group) -> Multiscale:
    found = _metadata(group)
    model = Multiscale05 if "ome" in group.attrs else Multiscale04
    if not isinstance(found, list) or len(found) != 1:
        count = len(found) if isinstance(found, list) else "no list of"
        raise FormatError(path, f"{count} multiscales", f"{OME_ZARR}, with one of them")
    try:
        return model.model_validate(found[0])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "multiscales"
        raise FormatError(path, f"OME metadata that is not valid: {where}: {first['msg']}", OME_ZARR) from error


def _spatial_axes(path: Path, multiscale: Multiscale, array: zarr.Array[Any]) -> list[int]:
    names = [str(axis.name) for axis in multiscale.axes]
    named = ", ".join(f"{name} {size}" for name, size in zip(names, array.shape, strict=False))
    if len(names) != array.ndim:
        raise FormatError(path, f"{len(names)} axes in the metadata, {array.ndim} in the array", OME_ZARR)
    spatial = [index for index, axis in enumerate(multiscale.axes) if getattr(axis, "type", None) == "space"]
    others = [size for index, size in enumerate(array.shape) if index not in spatial]
    if any(size != 1 for size in others) or len(spatial) != 3:
        raise FormatError(path, f"axes of {named}", ONE_VOLUME)
    order = [names[index] for index in spatial]
    if order != ["z", "y", "x"]:
        raise FormatError(path, f"axes in the order {', '.join(order)}", "axes in the order z, y, x")
    return spatial


def _frame(path: Path, group: zarr.Group, multiscale: Multiscale, axes: list[int]) -> Frame:
    named = [multiscale.axes[axis].unit for axis in axes]
    if not all(named):
        raise NoSpacing("the OME-Zarr axes state no unit of length")
    units = [unit_of(str(name)) for name in named]
    factors = np.array([unit.mm for unit in units])
    scale, shift = _transformed(path, multiscale)
    z, y, x = (float(value) for value in shift[axes] * factors)
    symbols = (units[2].symbol, units[1].symbol, units[0].symbol)
    kept = None if set(symbols) == {"mm"} else StatedUnits(symbols, OME_ZARR_UNITS)

    def frame() -> Frame:
        spacing = Spacing(*(float(value) for value in scale[axes] * factors))
        return replace(_written(group, spacing) or Frame.from_lps(spacing, (x, y, z)), units=kept)

    return placed_frame("the scale of the OME-Zarr's coordinateTransformations", frame)


def _transformed(path: Path, multiscale: Multiscale) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The scale and the translation of each axis at full resolution, in the axis' unit."""
    scale, shift = np.ones(len(multiscale.axes)), np.zeros(len(multiscale.axes))
    steps = [*multiscale.datasets[0].coordinateTransformations, *(multiscale.coordinateTransformations or ())]
    for step in steps:
        if (factor := getattr(step, "scale", None)) is not None:
            scale, shift = scale * factor, shift * factor
        elif (offset := getattr(step, "translation", None)) is not None:
            shift = shift + offset
        elif getattr(step, "path", None) is not None:
            raise FormatError(
                path, "a coordinate transformation that is stored elsewhere", "scale and translation as numbers"
            )
    return scale, shift


def _written(group: zarr.Group, spacing: Spacing) -> Frame | None:
    own = group.attrs.get("ricefish")
    affine = own.get("affine") if isinstance(own, dict) else None
    if affine is None:
        return None
    frame = Frame.from_affine(np.array(affine, dtype=np.float64))
    return frame if np.allclose(list(frame.spacing), list(spacing), rtol=1e-4) else None


@dataclass(frozen=True)
class _ZarrSource:
    array: zarr.Array[Any]
    axes: tuple[int, ...]

    @property
    def shape(self) -> Triple:
        z, y, x = (int(self.array.shape[axis]) for axis in self.axes)
        return (z, y, x)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.array.dtype)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        index = tuple(slice(start, stop) if axis == self.axes[0] else slice(None) for axis in range(self.array.ndim))
        chunk = math.prod(self.array.chunks) * self.array.dtype.itemsize
        if chunk * _USUALLY_AT_ONCE <= _AT_ONCE_BYTES:
            return np.asarray(self.array[index]).reshape(stop - start, *self.shape[1:])
        with zarr.config.set({"async.concurrency": max(1, _AT_ONCE_BYTES // chunk)}):
            return np.asarray(self.array[index]).reshape(stop - start, *self.shape[1:])
