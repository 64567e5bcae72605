"""One writer per suffix. Each brings in its library when it is first used."""

# ruff: noqa: PLC0415 - the imports inside functions are this module's purpose

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from scans.formats.writing import FormatWriter, Target

Creator = Callable[[Target, ExitStack], FormatWriter]


def creator_of(path: Path) -> Creator:
    """The writer for the longest suffix that names a format. Raises ValueError that lists them."""
    for suffix in sorted(WRITABLE, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return _CREATORS[suffix]
    raise ValueError(f"{path}: no format has this suffix; there are {', '.join(WRITABLE)}")


def _nifti(target: Target, stack: ExitStack) -> FormatWriter:
    from scans.formats.nifti_writing import create_nifti

    return create_nifti(target, stack)


def _nifti_gz(target: Target, stack: ExitStack) -> FormatWriter:
    from scans.formats.nifti_writing import create_nifti_gz

    return create_nifti_gz(target, stack)


def _nrrd(target: Target, stack: ExitStack) -> FormatWriter:
    from scans.formats.nrrd_writing import create_nrrd

    return create_nrrd(target, stack)


def _metaimage(target: Target, stack: ExitStack) -> FormatWriter:
    from scans.formats.metaimage_writing import create_metaimage

    return create_metaimage(target, stack)


def _tiff(target: Target, stack: ExitStack) -> FormatWriter:
    from scans.formats.tiff_writing import create_tiff

    return create_tiff(target, stack)


def _hdf5(target: Target, stack: ExitStack) -> FormatWriter:
    from scans.formats.hdf5_writing import create_hdf5

    return create_hdf5(target, stack)


def _ome_zarr(target: Target, stack: ExitStack) -> FormatWriter:
    from scans.formats.ome_zarr_writing import create_ome_zarr

    return create_ome_zarr(target, stack)


def _ome_zarr_zip(target: Target, stack: ExitStack) -> FormatWriter:
    from scans.formats.ome_zarr_writing import create_ome_zarr_zip

    return create_ome_zarr_zip(target, stack)


_CREATORS: dict[str, Creator] = {
    ".nii": _nifti,
    ".nii.gz": _nifti_gz,
    ".nrrd": _nrrd,
    ".seg.nrrd": _nrrd,
    ".mha": _metaimage,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".h5": _hdf5,
    ".ome.zarr": _ome_zarr,
    ".ome.zarr.zip": _ome_zarr_zip,
}

STREAMED = frozenset({".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".tif", ".tiff"})
"""Suffixes of the formats that are written from front to back, so that they can be sent while they are made."""

WRITABLE: tuple[str, ...] = tuple(_CREATORS)
"""Suffixes that `create_volume` knows."""
