"""OME-Zarr 0.5, a folder or a .zip, with a pyramid of levels that are taken by striding, so that labels stay labels.

Chunks are (32, 128, 128) voxels; a shard, one file, holds all chunks of 32 slices. With organs the group is an OME
image label as well: colours, and names as properties.
"""

from __future__ import annotations

import math
import shutil
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from ome_zarr_models.v05.image_label import ImageLabelAttrs
from zarr.codecs import ZstdCodec

from scans.formats.writing import SlabWriter, Target
from scans.geometry import Triple
from scans.organs import OrganMap

_CHUNK_DEPTH = 32
_CHUNK_SIDE = 128
_SMALLEST_LEVEL = 128
"""Levels are added until no axis is longer, at most five in all."""
_MOST_LEVELS = 5
_SHARD_BYTES = 128 << 20
"""Slices that fill a shard are kept in memory until it is written; thick ones make shards of fewer slices."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass
class _Level:
    """One array of the pyramid; takes every `stride`th voxel of the slabs it is given."""

    array: zarr.Array[Any]
    stride: int
    shard_slices: int
    _seen: int = 0
    _written: int = 0
    _waiting: list[NDArray[Any]] = field(default_factory=list)

    def write(self, slab: NDArray[Any]) -> None:
        mine = slab[-self._seen % self.stride :: self.stride, :: self.stride, :: self.stride]
        self._seen += len(slab)
        for plane in mine:
            self._waiting.append(plane.copy())
            if len(self._waiting) == self.shard_slices:
                self.flush()

    def flush(self) -> None:
        if self._waiting:
            self.array[self._written : self._written + len(self._waiting)] = np.stack(self._waiting)
            self._written += len(self._waiting)
            self._waiting.clear()


@dataclass(frozen=True)
class _PyramidWriter:
    levels: list[_Level]

    def write(self, slab: NDArray[Any]) -> None:
        for level in self.levels:
            level.write(slab)

    def finish(self) -> None:
        for level in self.levels:
            level.flush()


def create_ome_zarr(target: Target, stack: ExitStack) -> SlabWriter:
    """An OME-Zarr folder."""
    return _create(target, target.path, stack)


def create_ome_zarr_zip(target: Target, stack: ExitStack) -> SlabWriter:
    """An OME-Zarr in one .zip file, not compressed again, as RFC-9 wants it: its root is the archive's root."""
    folder = target.path.with_suffix(".folder")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    stack.callback(_pack, folder, target.path)
    return _create(target, folder, stack)


def _create(target: Target, folder: Path, stack: ExitStack) -> SlabWriter:
    halvings = max(0, math.ceil(math.log2(max(target.shape) / _SMALLEST_LEVEL)))
    strides = [2**level for level in range(min(halvings + 1, _MOST_LEVELS))]
    group = zarr.create_group(folder, zarr_format=3, attributes=_attributes(target, strides))
    writer = _PyramidWriter([_level(group, target, index, stride) for index, stride in enumerate(strides)])
    stack.callback(writer.finish)
    return writer


def _level(group: zarr.Group, target: Target, index: int, stride: int) -> _Level:
    z, y, x = (-(-size // stride) for size in target.shape)
    depth = max(1, min(_CHUNK_DEPTH, z, _SHARD_BYTES // (y * x * target.dtype.itemsize)))
    chunk: Triple = (depth, min(_CHUNK_SIDE, y), min(_CHUNK_SIDE, x))
    array = group.create_array(
        str(index),
        shape=(z, y, x),
        dtype=target.dtype,
        chunks=chunk,
        shards=(depth, -(-y // chunk[1]) * chunk[1], -(-x // chunk[2]) * chunk[2]),
        compressors=ZstdCodec(level=3),
        dimension_names=["z", "y", "x"],
    )
    return _Level(array, stride, depth)


def _attributes(target: Target, strides: list[int]) -> dict[str, Any]:
    spacing = target.frame.spacing
    origin = [float(value) for value in reversed(target.frame.origin)]
    datasets = [
        {
            "path": str(index),
            "coordinateTransformations": [
                {"type": "scale", "scale": [step * stride for step in spacing]},
                {"type": "translation", "translation": origin},
            ],
        }
        for index, stride in enumerate(strides)
    ]
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [{"name": "volume", "axes": axes, "datasets": datasets, "type": "stride"}],
    }
    if target.organs:
        ome["image-label"] = _image_label(target.organs)
        ome["multiscales"][0]["name"] = "segmentation"
    ImageLabelAttrs.model_validate(ome)
    affine = [list(row) for row in target.frame.affine]
    return {"ome": ome, "ricefish": {"affine": affine, "world": "RAS+, mm, of voxel index x, y, z"}}


def _image_label(organs: OrganMap) -> dict[str, Any]:
    return {
        "version": "0.5",
        "colors": [{"label-value": organ.index, "rgba": [*organ.colour, 255]} for organ in organs.organs],
        "properties": [{"label-value": organ.index, "name": organ.name} for organ in organs.organs],
    }


def _pack(folder: Path, path: Path) -> None:
    """Files in a fixed order and with a fixed date; metadata first."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    files.sort(key=lambda file: (file.name != "zarr.json", len(file.parts)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EPOCH)
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as packed:
                shutil.copyfileobj(source, packed, 1 << 20)
