"""TIFF by tifffile, PNG and BMP by Pillow: one file of many pages, and files of one each; and what these read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from tests.sweep.comparison import Seen
from tests.sweep.drawing import draw_spacing, draw_voxels

_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")
_IMAGEJ_TYPES = ("u1", "u2", "f4")
_PACKED: tuple[dict[str, Any], ...] = (
    {},
    {"compression": "zlib"},
    {"compression": "zlib", "predictor": True},
    {"compression": "adobe_deflate"},
    {"compression": "lzw"},
    {"compression": "lzw", "predictor": True},
    {"compression": "packbits"},
    {"compression": "zstd"},
    {"compression": "zstd", "predictor": True},
)
_IMAGEJ_UNITS = {"mm": 1.0, "micron": 1e-3, "um": 1e-3, "cm": 10.0, "nm": 1e-6}
_OME_UNITS = {"mm": 1.0, "µm": 1e-3, "nm": 1e-6, "cm": 10.0}
_ONE_PAGE = ("u1", "u2", "i2", "f4")


def write_tiff(dice: Random, folder: Path) -> Path:
    """Plain, ImageJ's and OME's; classic and BigTIFF; strips and tiles; packed in every way that is read."""
    path = folder / "file.tif"
    kind = dice.choice(("plain", "imagej", "ome"))
    order = dice.choice("<>")
    options: dict[str, Any] = {"photometric": "minisblack", "byteorder": order}
    if kind == "plain" and dice.random() < 0.3:
        options["photometric"] = "miniswhite"
    if kind == "imagej":
        return _write_imagej(dice, path)
    voxels = draw_voxels(dice, dice.choice(_TYPES))
    options |= dice.choice(_PACKED)
    options["bigtiff"] = dice.random() < 0.3
    if dice.random() < 0.4:
        options["tile"] = (16, 16)
    elif dice.random() < 0.5:
        options["rowsperstrip"] = dice.randint(1, 5)
    if kind == "ome":
        options["ome"] = True
        options["metadata"] = {"axes": "ZYX", **_ome_spacing(dice)}
    elif dice.random() < 0.5:
        options["metadata"] = None
    tifffile.imwrite(path, voxels, **options)
    return path


def _write_imagej(dice: Random, path: Path) -> Path:
    voxels = draw_voxels(dice, dice.choice(_IMAGEJ_TYPES))
    unit = dice.choice(list(_IMAGEJ_UNITS))
    x, y, z = draw_spacing(dice) / _IMAGEJ_UNITS[unit]
    metadata: dict[str, Any] = {"axes": "ZYX"}
    if dice.random() < 0.8:
        metadata |= {"spacing": float(z), "unit": unit}
    packed = {"compression": "zlib"} if dice.random() < 0.4 else {}
    tifffile.imwrite(path, voxels, imagej=True, resolution=(1 / x, 1 / y), metadata=metadata, **packed)
    return path


def _ome_spacing(dice: Random) -> dict[str, Any]:
    if dice.random() < 0.2:
        return {}
    stated: dict[str, Any] = {}
    for axis, step in zip("XYZ", draw_spacing(dice), strict=True):
        unit = dice.choice(list(_OME_UNITS))
        stated[f"PhysicalSize{axis}"], stated[f"PhysicalSize{axis}Unit"] = float(step) / _OME_UNITS[unit], unit
    return stated


def read_tiff(path: Path) -> Seen:
    """By tifffile, high values made bright; of the voxel size it says what ImageJ and OME have written."""
    with tifffile.TiffFile(path) as tiff:
        voxels = tiff.asarray()
        if tiff.pages.first.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            voxels = -voxels if voxels.dtype.kind == "f" else ~voxels
        steps = _imagej_steps(tiff) if tiff.is_imagej else _ome_steps(tiff) if tiff.is_ome else None
    affine = None if steps is None else np.diag([*steps, 1.0])
    return Seen(voxels, affine, placed=False)


def _imagej_steps(tiff: tifffile.TiffFile) -> list[float] | None:
    stated = tiff.imagej_metadata or {}
    if "unit" not in stated or "spacing" not in stated:
        return None
    factor = _IMAGEJ_UNITS[stated["unit"]]
    tags = tiff.pages.first.tags
    x, y = (tags.valueof(name) for name in ("XResolution", "YResolution"))
    return [x[1] / x[0] * factor, y[1] / y[0] * factor, stated["spacing"] * factor]


def _ome_steps(tiff: tifffile.TiffFile) -> list[float] | None:
    pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    if "PhysicalSizeZ" not in pixels:
        return None
    return [pixels[f"PhysicalSize{axis}"] * _OME_UNITS[pixels[f"PhysicalSize{axis}Unit"]] for axis in "XYZ"]


def write_tiff_slices(dice: Random, folder: Path) -> Path:
    """A folder or a zip of files of one page, numbered with and without zeros, from any number on."""
    voxels = draw_voxels(dice, dice.choice(_ONE_PAGE))
    place = folder / "slices"
    place.mkdir()
    first, step, digits = dice.randint(0, 12), dice.choice((1, 1, 2)), dice.choice((0, 4))
    packed = dice.choice(_PACKED)
    for number, plane in enumerate(voxels):
        name = f"slice_{first + step * number:0{digits}d}.{dice.choice(('tif', 'tif', 'TIFF'))}"
        tifffile.imwrite(place / name, plane, photometric="minisblack", metadata=None, **packed)
    return place if dice.random() < 0.5 else zipped(dice, place)


def zipped(dice: Random, place: Path) -> Path:
    """The files of a folder in an archive beside it, stored or deflated, in any order; the folder stays."""
    path = place.with_suffix(".zip")
    files = sorted(place.iterdir())
    dice.shuffle(files)
    method = dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in files:
            archive.write(file, file.name)
    return path


def read_tiff_slices(path: Path) -> Seen:
    """By tifffile, in the order of the numbers; nothing says how far apart they are."""
    files = sorted(path.with_suffix("").iterdir(), key=lambda file: int(file.stem.rpartition("_")[2]))
    return Seen(np.stack([tifffile.imread(file) for file in files]), None)


def write_pictures(dice: Random, folder: Path) -> Path:
    """A folder or a zip of PNG or BMP files, 8 or 16 bits, with a program's notes among them."""
    suffix, code = dice.choice((("png", "u1"), ("png", "u2"), ("bmp", "u1")))
    place = folder / "pictures"
    place.mkdir()
    for number, plane in enumerate(draw_voxels(dice, code)):
        Image.fromarray(plane).save(place / f"scan_rec{number:08d}.{suffix}")
    for name in dice.sample(("Thumbs.db", "scan_rec.log", "scan_rec.ctvol", ".DS_Store"), dice.randint(0, 3)):
        (place / name).write_bytes(b"of no interest")
    return place if dice.random() < 0.5 else zipped(dice, place)


def read_pictures(path: Path) -> Seen:
    """By Pillow, in the order of the numbers."""
    files = sorted(file for file in path.with_suffix("").iterdir() if file.suffix in (".png", ".bmp"))
    return Seen(np.stack([np.asarray(Image.open(file)) for file in files]), None)
