"""HDF5 by h5py and OME-Zarr by zarr: files, and what these libraries read of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import zarr
from numpy.typing import NDArray

from tests.sweep.comparison import Seen
from tests.sweep.drawing import draw_spacing, draw_voxels

_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")
_PACKED: tuple[Mapping[str, Any], ...] = (
    {},
    {"compression": "gzip"},
    {"compression": "lzf"},
    {"compression": "gzip", "shuffle": True},
    hdf5plugin.Blosc(cname="lz4"),
    hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    hdf5plugin.Bitshuffle(),
    hdf5plugin.Bitshuffle(cname="none"),
    hdf5plugin.LZ4(),
    hdf5plugin.Zstd(),
)
_HDF5_UNITS = {"um": 1e-3, "mm": 1.0, "m": 1e3}
_ZARR_UNITS = {"micrometer": 1e-3, "millimeter": 1.0, "nanometer": 1e-6, "centimeter": 10.0}
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_hdf5(dice: Random, folder: Path) -> Path:
    """Whole and in chunks, packed and not, either byte order, at any depth, with axes of size 1 before it."""
    path = folder / "file.h5"
    voxels = draw_voxels(dice, dice.choice(_TYPES))
    voxels = voxels.astype(voxels.dtype.newbyteorder(dice.choice("<>")))  # type: ignore[arg-type]
    stored = voxels[(None,) * dice.choice((0, 0, 1, 2))]
    options: dict[str, Any] = {}
    if dice.random() < 0.7:
        leading = (1,) * (stored.ndim - 3)
        options["chunks"] = (*leading, *(dice.randint(1, size) for size in voxels.shape))
        options |= dict(dice.choice(_PACKED))
        options["fletcher32"] = dice.random() < 0.3
    with h5py.File(path, "w") as file:
        data = file.create_dataset(dice.choice(("data", "a/b/scan", "exported_data")), data=stored, **options)
        x, y, z = draw_spacing(dice)
        stated = dice.choice(("element_size_um", "spacing", "nothing"))
        if stated == "element_size_um":
            data.attrs["element_size_um"] = (z, y, x)
        elif stated == "spacing":
            data.attrs["spacing"] = (z, y, x)
            data.attrs["unit"] = dice.choice(list(_HDF5_UNITS))
    return path


def read_hdf5(path: Path) -> Seen:
    """By h5py: the only data set of the file."""
    found: list[h5py.Dataset] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        (data,) = found
        voxels: NDArray[Any] = data[()].reshape(data.shape[-3:])
        affine = None
        if "element_size_um" in data.attrs:
            affine = np.diag([*(data.attrs["element_size_um"][::-1] * 1e-3), 1.0])
        elif "spacing" in data.attrs:
            affine = np.diag([*(data.attrs["spacing"][::-1] * _HDF5_UNITS[data.attrs["unit"]]), 1.0])
    return Seen(voxels, affine, placed=False)


def write_ome_zarr(dice: Random, folder: Path) -> Path:
    """Zarr 2 and 3, a folder or a zip, with axes t and c, several levels, in several units."""
    place = folder / "image.ome.zarr"
    voxels = draw_voxels(dice, dice.choice(_TYPES))
    leading = dice.choice(("", "c", "tc"))
    stored = voxels[(None,) * len(leading)]
    version = dice.choice((2, 3))
    units = [dice.choice(list(_ZARR_UNITS)) for _ in range(3)]
    axes = [{"name": name, "type": {"t": "time", "c": "channel"}[name]} for name in leading]
    axes += [{"name": name, "type": "space", "unit": unit} for name, unit in zip("zyx", units, strict=True)]
    scale = [1.0] * len(leading) + [
        float(step) / _ZARR_UNITS[unit] for step, unit in zip(draw_spacing(dice), units, strict=True)
    ]
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if dice.random() < 0.5:
        moved = [0.0] * len(leading) + [dice.uniform(-9, 9) for _ in range(3)]
        transformations.append({"type": "translation", "translation": moved})
    chunks = tuple(dice.randint(1, size) for size in stored.shape)
    half: list[dict[str, Any]] = [{"type": "scale", "scale": scale[:-3] + [2 * step for step in scale[-3:]]}]
    levels = [{"path": "0", "coordinateTransformations": transformations}]
    if two := dice.random() < 0.5:
        levels.append({"path": "1", "coordinateTransformations": half})
    multiscales: list[Any] = [{"axes": axes, "datasets": levels, "name": "image"}]
    if version == 2:
        multiscales[0]["version"] = "0.4"
    attributes = (
        {"multiscales": multiscales} if version == 2 else {"ome": {"version": "0.5", "multiscales": multiscales}}
    )
    group = zarr.create_group(str(place), zarr_format=version, attributes=attributes)
    compressors = dice.choice(("auto", None))
    group.create_array("0", data=stored, chunks=chunks, compressors=compressors)
    if two:
        group.create_array("1", data=stored[..., ::2, ::2, ::2], compressors=compressors)
    return place


def read_ome_zarr(path: Path) -> Seen:
    """By zarr, and its attributes as they are."""
    group = zarr.open_group(str(path), mode="r")
    attributes: Any = dict(group.attrs)
    (multiscale,) = attributes.get("ome", attributes)["multiscales"]
    array: Any = group[multiscale["datasets"][0]["path"]]
    factors = [_ZARR_UNITS[axis["unit"]] for axis in multiscale["axes"][-3:]]
    affine = np.eye(4)
    for transformation in multiscale["datasets"][0]["coordinateTransformations"]:
        values = np.multiply(transformation[transformation["type"]][-3:], factors)[::-1]
        if transformation["type"] == "scale":
            affine[:3, :3] = np.diag(values)
        else:
            affine[:3, 3] = values
    voxels: NDArray[Any] = np.asarray(array[:])
    return Seen(voxels.reshape(voxels.shape[-3:]), _RAS_FROM_LPS @ affine)
