"""One reader per format. Each brings in its library when it is first used: all of them take seconds."""

# ruff: noqa: PLC0415 - the imports inside functions are this module's purpose

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from scans.formats.entries import Entries, FolderEntries, ZipEntries
from scans.formats.sources import Opened

_ZARR_MARKERS = ("zarr.json", ".zgroup", ".zattrs")
"""Files that make a folder a Zarr group."""


def nifti(path: Path, stack: ExitStack) -> Opened:
    """A .nii or .nii.gz file."""
    from scans.formats.nifti import open_nifti

    return open_nifti(path, stack)


def tiff(path: Path, stack: ExitStack) -> Opened:
    """A TIFF of many pages."""
    from scans.formats.tiff import open_tiff

    return open_tiff(path, stack)


def nrrd(path: Path, stack: ExitStack) -> Opened:
    """A .nrrd file."""
    from scans.formats.nrrd import open_nrrd

    return open_nrrd(path, stack)


def metaimage(path: Path, stack: ExitStack) -> Opened:
    """A .mha file."""
    from scans.formats.metaimage import open_metaimage

    return open_metaimage(path, stack)


def hdf5(path: Path, stack: ExitStack) -> Opened:
    """An HDF5 file."""
    from scans.formats.hdf5 import open_hdf5

    return open_hdf5(path, stack)


def dicom_file(path: Path, stack: ExitStack) -> Opened:
    """A single DICOM file: a volume of one slice."""
    return _slices(FolderEntries(path.parent, (path.name,)))


def folder(path: Path, stack: ExitStack) -> Opened:
    """A folder: an OME-Zarr, or slices."""
    if any((path / marker).is_file() for marker in _ZARR_MARKERS):
        from scans.formats.ome_zarr import open_ome_zarr

        return open_ome_zarr(path)
    return _slices(FolderEntries.of(path))


def archive(path: Path, stack: ExitStack) -> Opened:
    """A .zip: an OME-Zarr, or slices."""
    entries = ZipEntries.of(path, stack)
    roots = [name for name in entries.archive.namelist() if name.rpartition("/")[2] in _ZARR_MARKERS]
    if roots:
        from scans.formats.ome_zarr import open_ome_zarr_zip

        root = min(roots, key=lambda name: name.count("/")).rpartition("/")[0]
        return open_ome_zarr_zip(entries, root, stack)
    return _slices(entries)


def _slices(entries: Entries) -> Opened:
    from scans.formats.slices import open_slices

    return open_slices(entries)
