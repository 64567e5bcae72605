"""OME-Zarr 0.4 (Zarr v2) and 0.5 (Zarr v3), a folder or a .zip, read slab by slab at full resolution.

Axes t and c are dropped where their size is 1. The translation is taken as the origin in LPS+; `ricefish.affine`
(4 x 4, voxel index x, y, z to RAS+ mm), which Ricefish writes beside the OME metadata, gives the direction as well.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from ome_zarr_models.v04.multiscales import Multiscale as Multiscale04
from ome_zarr_models.v05.multiscales import Multiscale as Multiscale05
from pydantic import ValidationError
from zarr.errors import ContainsArrayError, GroupNotFoundError
from zarr.storage import LocalStore, ZipStore

from scans.formats.entries import LARGEST_ENTRY, ZipEntries
from scans.formats.errors import ONE_VOLUME, FormatError, NoSpacing, how_to_name
from scans.formats.ome_zarr_pyramid import OME_ZARR_UNITS
from scans.formats.sources import Opened, placed_frame
from scans.formats.units import unit_of
from scans.formats.zarr_arrays import MOST_GROUPS, OME_ZARR, named_node, open_array, open_plain
from scans.geometry import Frame, Spacing, StatedUnits

_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
_LARGEST_METADATA = 4 << 20
_ZIP_STORED = "a zip that packs nothing, as chunks in shards are packed themselves: `zip -0 -r NEW.zip FOLDER`"
_STEPS = "coordinateTransformations"
_MOST_LISTED = 64
"""Levels, axes, or transformations of one image."""

Multiscale = Multiscale04 | Multiscale05


def open_ome_zarr(path: Path, dataset: str | None = None) -> Opened:
    """A Zarr folder, or the array or image of that name in it.

    Raises FormatError for OME metadata that is not valid, channels and time series, and where it cannot be told which
    array is the volume.
    """
    below = [entry.name for entry in os.scandir(path)]
    return _open(path, _node(_CheckedFolder(path, read_only=True)), below, dataset)


def open_ome_zarr_zip(entries: ZipEntries, root: str, stack: ExitStack, dataset: str | None = None) -> Opened:
    """The same in an archive, below `root`, which is a name as zipfile has it."""
    below = set()
    for known, member in entries.members.items():
        name = member.filename
        entries.require_bounded(known, most=_LARGEST_METADATA if name.rpartition("/")[2] in _METADATA else None)
        if name.startswith(f"{root}/" if root else ""):
            below.add(name[len(root) :].lstrip("/").partition("/")[0])
    packed = frozenset(one.filename for one in entries.members.values() if one.compress_type != zipfile.ZIP_STORED)
    store = _CheckedZip(entries.path, packed)
    stack.callback(store.close)
    return _open(entries.path, _node(store, root), below, dataset)


class _CheckedZip(ZipStore):
    """An archive of which no part of a packed entry is read: each would be unpacked from its beginning again."""

    def __init__(self, path: Path, packed: Collection[str]) -> None:
        """`packed` are the names of entries that are."""
        super().__init__(path, mode="r")
        self._packed = packed

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        if byte_range is not None and key in self._packed:
            raise FormatError(Path(self.path), f"the shard {key} is packed by the zip", _ZIP_STORED)
        return await super().get(key, prototype, byte_range)


class _CheckedFolder(LocalStore):
    """A folder of which nothing is read that is larger than it may be."""

    async def get(self, key: str, *arguments: Any, **named: Any) -> Any:
        place = self.root / key
        most = _LARGEST_METADATA if place.name in _METADATA else LARGEST_ENTRY
        if place.is_file() and (size := place.stat().st_size) > most:
            raise FormatError(self.root, f"{key} has {size} bytes", f"at most {most} in such a file")
        return await super().get(key, *arguments, **named)


def _node(store: LocalStore | ZipStore, root: str = "") -> zarr.Group | zarr.Array[Any]:
    try:
        return zarr.open_group(store, path=root, mode="r", use_consolidated=False)
    except (ContainsArrayError, GroupNotFoundError):
        return zarr.open_array(store, path=root, mode="r")


def _open(path: Path, node: zarr.Group | zarr.Array[Any], below: Collection[str], dataset: str | None) -> Opened:
    """The image of a group, or an array, below which these names are."""
    if dataset is not None:
        if isinstance(node, zarr.Array):
            raise FormatError(
                path, f"no array {dataset.removeprefix('/')[:80]!r} in a Zarr that is one array", "no name for it"
            )
        node = named_node(path, node, dataset)
    image = _image_group(path, node, below) if isinstance(node, zarr.Group) else None
    if image is None:
        return open_plain(path, node, below)
    multiscale = _multiscale(path, image)
    array = image[str(multiscale.datasets[0].path)]
    if not isinstance(array, zarr.Array):
        raise FormatError(path, f"{multiscale.datasets[0].path} is not an array", OME_ZARR)
    axes = _spatial_axes(path, multiscale, array)
    return open_array(path, array, axes, partial(_frame, path, image, multiscale, axes))


def _image_group(path: Path, group: zarr.Group, below: Collection[str]) -> zarr.Group | None:
    """The group itself, or the one in it that is an image; None where there is no OME metadata."""
    if _metadata(group) is not None:
        return group
    if len(below) > MOST_GROUPS:
        raise FormatError(path, f"{len(below)} groups or files in a Zarr without OME metadata", OME_ZARR)
    inside = {name: child for name, child in group.groups() if _metadata(child) is not None}
    if len(inside) > 1:
        found = f"{len(inside)} images in one OME-Zarr: {', '.join(inside)}"
        raise FormatError(path, found, f"{OME_ZARR}; or name one: {how_to_name(next(iter(inside)))}")
    return next(iter(inside.values()), None)


def _metadata(group: zarr.Group) -> Any:
    ome = group.attrs.get("ome", {})
    return (ome.get("multiscales") if isinstance(ome, dict) else None) or group.attrs.get("multiscales")


def _multiscale(path: Path, group: zarr.Group) -> Multiscale:
    found = _metadata(group)
    model = Multiscale05 if "ome" in group.attrs else Multiscale04
    if not isinstance(found, list) or len(found) != 1:
        count = len(found) if isinstance(found, list) else "no list of"
        raise FormatError(path, f"{count} multiscales", f"{OME_ZARR}, with one of them")
    _require_short(path, found[0])
    try:
        return model.model_validate(found[0])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "multiscales"
        raise FormatError(path, f"OME metadata that is not valid: {where}: {first['msg']}", OME_ZARR) from error


def _require_short(path: Path, multiscale: Any) -> None:
    """Raises FormatError for longer lists than an image has levels and axes: their checks take the square of that."""
    if not isinstance(multiscale, dict):
        return
    datasets = multiscale.get("datasets")
    described = [multiscale, *(datasets[: _MOST_LISTED + 1] if isinstance(datasets, list) else ())]
    steps = [one.get(_STEPS) for one in described if isinstance(one, dict)]
    numbers = [value for list_ in steps for step in _items(list_) if isinstance(step, dict) for value in step.values()]
    for found in (multiscale.get("axes"), datasets, *steps, *numbers):
        if len(_items(found)) > _MOST_LISTED:
            listed = f"OME metadata with a list of {len(_items(found))} levels, axes or transformations"
            raise FormatError(path, listed, f"{OME_ZARR}, with at most {_MOST_LISTED} of each")


def _items(found: Any) -> list[Any]:
    """Of a list; none of anything else, which is refused where it is read."""
    return found if isinstance(found, list) else []


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
