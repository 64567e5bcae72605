"""File names: which suffix is which format, and what is left of a name without it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

SUFFIXES: tuple[str, ...] = (
    ".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd",
    ".ome.tiff", ".ome.tif", ".tiff", ".tif",
    ".hdf5", ".h5", ".ome.zarr.zip", ".ome.zarr", ".zarr.zip", ".zarr", ".zip", ".dcm",
)  # fmt: skip
"""Suffixes of the files that can be read, longer ones first; what a file really is, its first bytes say."""

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "nii.gz": "application/gzip",
        "nrrd": "application/octet-stream",
        "tif": "image/tiff",
        "ome-zarr": "application/zip",
    }
)
"""Formats in which a segmentation can be fetched, each with its media type."""

DOWNLOAD_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {"nii.gz": ".nii.gz", "nrrd": ".seg.nrrd", "tif": ".tif", "ome-zarr": ".ome.zarr.zip"}
)
"""The suffix of the file that `create_volume` is asked for, for each of MEDIA_TYPES."""


def stem(path: Path) -> str:
    """The file's name without any format suffix, upper or lower case: "pt_2.nii.gz" -> "pt_2", "Fish.TIF" -> "Fish"."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
