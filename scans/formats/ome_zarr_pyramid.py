"""The OME-Zarr pyramid of a volume that is filled slab by slab, in any order, by whoever has a slab.

Level k holds every 2^k-th voxel along each axis, so that labels stay labels, or means of so many grey values. A slab is
a power of two of slices, so each level's part of it is one shard, one file: slab n touches no file of any other slab.
With deep levels, a coarser level's shard holds the parts of many slabs, so that a plane across y or x is in few chunks:
see `ome_zarr_slabs`. Every chunk has a checksum in it, by which whoever unpacks it finds it damaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scans.formats.reductions import Reduction, reduced
from scans.formats.units import UNITS, in_unit
from scans.geometry import Frame, Triple
from scans.intensity import Window
from scans.organs import OrganMap

if TYPE_CHECKING:
    import zarr

_CHUNK_DEPTH = 32
_CHUNK_SIDES: Mapping[Reduction, int] = {"stride": 128, "local_mean": 64}
"""Labels pack to nearly nothing; of grey values, less is read for a plane across y or x."""
_SMALLEST_LEVEL = 128
"""Levels are added until no axis is longer, at most five in all."""
_MOST_LEVELS = 5
_ZSTD_LEVEL = 1
OME_ZARR_UNITS = "ome-zarr"
"""What the format is to a result that keeps the units of its scan."""


@dataclass(frozen=True)
class Pyramid:
    """The arrays of a volume, finest first. Slabs are counted from 0; the last one may be thinner."""

    levels: tuple[zarr.Array[Any], ...]
    slab_slices: int
    """Slices of a slab, a power of two."""
    reduction: Reduction = "stride"
    """How a level is made of the finer one, within a slab."""
    deep_levels: bool = False
    """Shards of coarser levels hold the parts of many slabs, which `PyramidWriter` gathers."""

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        shape: Triple,
        dtype: DTypeLike,
        frame: Frame,
        organs: OrganMap | None,
        slab_slices: int,
        reduction: Reduction = "stride",
        deep_levels: bool = False,
    ) -> Pyramid:
        """An empty pyramid: metadata, and no voxel yet. Raises ValueError unless `slab_slices` is a power of two.

        With organs it is an OME image label as well: colours, and names as properties.
        """
        if slab_slices < 1 or slab_slices & (slab_slices - 1):
            raise ValueError(f"slabs of {slab_slices} slices; a pyramid needs a power of two")
        import zarr  # noqa: PLC0415  half a second, with its metadata, that nobody pays before the first volume
        from zarr.codecs import ZstdCodec  # noqa: PLC0415

        count, side = _level_count(shape), _CHUNK_SIDES[reduction]
        group = zarr.create_group(folder, zarr_format=3, attributes=_attributes(count, frame, organs, reduction))
        for level in range(count):
            z, y, x = (-(-size >> level) for size in shape)
            depth = _shard_depth(level, slab_slices, deep=deep_levels)
            chunk = (min(_CHUNK_DEPTH, depth), min(side, y), min(side, x))
            group.create_array(
                str(level),
                shape=(z, y, x),
                dtype=dtype,
                chunks=chunk,
                shards=(depth, -(-y // chunk[1]) * chunk[1], -(-x // chunk[2]) * chunk[2]),
                compressors=ZstdCodec(level=_ZSTD_LEVEL, checksum=True),
                fill_value=0,
                dimension_names=["z", "y", "x"],
            )
        return cls.open(folder)

    @classmethod
    def open(cls, store: Any) -> Pyramid:
        """A pyramid that `create` made, from a folder or anything else that zarr opens."""
        import zarr  # noqa: PLC0415  as in create

        group = zarr.open_group(store, mode="r+" if isinstance(store, Path) else "r")
        names = sorted((name for name, _ in group.arrays()), key=int)
        levels = [group[name] for name in names]
        arrays = tuple(
            level.with_config({"write_empty_chunks": True}) for level in levels if isinstance(level, zarr.Array)
        )
        shards = arrays[0].shards
        if shards is None:
            raise ValueError(f"{store} is not stored in slabs")
        deep = len(arrays) > 1 and arrays[1].shards != (max(1, shards[0] >> 1), *(arrays[1].shards or ())[1:])
        return cls(arrays, shards[0], _reduction(group.attrs.asdict()), deep)

    @classmethod
    def of_files(cls, files: Mapping[str, bytes]) -> Pyramid:
        """A pyramid of files in memory, by name relative to it; slabs whose shards are not among them read as 0."""
        from zarr.buffer.cpu import Buffer  # noqa: PLC0415  as in create
        from zarr.storage import MemoryStore  # noqa: PLC0415

        return cls.open(MemoryStore({name: Buffer.from_bytes(content) for name, content in files.items()}))

    @staticmethod
    def metadata_files(shape: Triple) -> list[str]:
        """What a pyramid of a volume of that shape has besides shards."""
        return ["zarr.json", *(f"{level}/zarr.json" for level in range(_level_count(shape)))]

    @staticmethod
    def shard_files(shape: Triple, slab_slices: int, number: int, *, deep_levels: bool = False) -> list[str]:
        """`files(number)` of a pyramid of a volume of that shape."""
        start, files = number * slab_slices, []
        last = start + slab_slices >= shape[0]
        for level in range(_level_count(shape)):
            slabs = slabs_of_shard(level, slab_slices) if deep_levels else 1
            if (last or (number + 1) % slabs == 0) if deep_levels else start % 2**level == 0:
                files.append(Pyramid.shard_of(level, slab_slices, start, deep_levels=deep_levels))
        return files

    @staticmethod
    def shard_of(level: int, slab_slices: int, z: int, *, deep_levels: bool = False) -> str:
        """The shard of a level in which slice z of the volume is, or would be if the level had it."""
        return f"{level}/c/{(z >> level) // _shard_depth(level, slab_slices, deep=deep_levels)}/0/0"

    @staticmethod
    def level_count(shape: Triple) -> int:
        """Levels of a pyramid of a volume of that shape."""
        return _level_count(shape)

    @property
    def shape(self) -> Triple:
        """Voxels of the volume along z, y, x."""
        z, y, x = self.levels[0].shape
        return (z, y, x)

    def write(self, number: int, slab: NDArray[Any]) -> list[str]:
        """Writes slab `number`, all of its slices, into every level; gives `files(number)`.

        The same slab gives the same bytes. Raises ValueError for a slab of another size, or that the volume has not,
        and where levels are deep.
        """
        if self.deep_levels:
            raise ValueError("a pyramid of deep levels is written by a PyramidWriter")
        for level, part in enumerate(self.parts(number, slab)):
            first = number * self.slab_slices >> level
            self.levels[level][first : first + len(part)] = part
        return self.files(number)

    def parts(self, number: int, slab: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """What each level has of slab `number`, finest first, of those that have a slice of it. Raises as `write`."""
        start = number * self.slab_slices
        expected = (min(self.slab_slices, self.shape[0] - start), *self.shape[1:])
        if number < 0 or slab.shape != expected:
            raise ValueError(f"slab {number} of {slab.shape} voxels (z, y, x) in a volume of {self.shape}")
        part = slab
        for level in range(len(self.levels)):
            if start % 2**level:
                return
            if level:
                part = reduced(part, self.reduction)
            yield part

    def files(self, number: int) -> list[str]:
        """The shards that are written with slab `number`, relative to the pyramid: one per level in which the slab has
        a slice; of deep levels, one where the slab is the last of the shard's.
        """
        return self.shard_files(self.shape, self.slab_slices, number, deep_levels=self.deep_levels)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop) of the finest level."""
        return np.asarray(self.levels[0][start:stop])

    def plane(self, along: int, index: int, *, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """The plane across axis 0, 1 or 2 at an index of the finest level; of the shards only its chunks are read.

        Across y and x, of the slices [start, stop).
        """
        place: list[int | slice] = [slice(start, stop), slice(None), slice(None)]
        place[along] = index
        return np.asarray(self.levels[0][tuple(place)])


def show_window(folder: Path, window: Window) -> None:
    """States in the metadata of a pyramid which grey values viewers should show."""
    import zarr  # noqa: PLC0415  as in create

    group = zarr.open_group(folder, mode="r+")
    ome: Any = group.attrs["ome"]
    group.update_attributes({"ome": {**ome, "omero": {"channels": [_channel(window)]}}})


def slabs_of_shard(level: int, slab_slices: int) -> int:
    """How many slabs a shard of a deep level holds the parts of."""
    return (_shard_depth(level, slab_slices, deep=True) << level) // slab_slices


def _shard_depth(level: int, slab_slices: int, *, deep: bool) -> int:
    """Slices of a level in one shard. Deep ones are as deep as a slab and, where slabs are thin, as a chunk can be."""
    if not deep:
        return max(1, slab_slices >> level)
    return max(slab_slices, min(_CHUNK_DEPTH, slab_slices << level))


def _reduction(attributes: Mapping[str, Any]) -> Reduction:
    stated: Reduction = attributes["ome"]["multiscales"][0]["type"]
    return stated


def _level_count(shape: Triple) -> int:
    halvings = max(0, math.ceil(math.log2(max(shape) / _SMALLEST_LEVEL)))
    return min(halvings + 1, _MOST_LEVELS)


def _attributes(levels: int, frame: Frame, organs: OrganMap | None, reduction: Reduction) -> dict[str, Any]:
    from ome_zarr_models.v05.image_label import ImageLabelAttrs  # noqa: PLC0415  as in create

    units = [UNITS[symbol] for symbol in reversed(frame.units_in(OME_ZARR_UNITS))]
    origin = [in_unit(value, unit) for value, unit in zip(reversed(frame.origin), units, strict=True)]
    steps = [in_unit(value, unit) for value, unit in zip(frame.spacing, units, strict=True)]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [step * 2**level for step in steps]},
                {"type": "translation", "translation": origin},
            ],
        }
        for level in range(levels)
    ]
    axes = [{"name": name, "type": "space", "unit": unit.word} for name, unit in zip("zyx", units, strict=True)]
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [{"name": "volume", "axes": axes, "datasets": datasets, "type": reduction}],
    }
    if organs:
        ome["image-label"] = _image_label(organs)
        ome["multiscales"][0]["name"] = "segmentation"
    ImageLabelAttrs.model_validate(ome)
    affine = [list(row) for row in frame.affine]
    return {"ome": ome, "ricefish": {"affine": affine, "world": "RAS+, mm, of voxel index x, y, z"}}


def _image_label(organs: OrganMap) -> dict[str, Any]:
    return {
        "version": "0.5",
        "colors": [{"label-value": organ.index, "rgba": [*organ.colour, 255]} for organ in organs.organs],
        "properties": [{"label-value": organ.index, "name": organ.name} for organ in organs.organs],
    }


def _channel(window: Window) -> dict[str, Any]:
    limits = {"min": window.lower, "max": window.upper, "start": window.lower, "end": window.upper}
    return {"label": "scan", "color": "FFFFFF", "active": True, "window": limits}
