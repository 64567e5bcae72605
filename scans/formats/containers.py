"""A folder or a .zip: a Zarr, or slices; and a single slice, which is a volume too."""

# ruff: noqa: PLC0415 - an archive of slices does without zarr, whose import takes a second

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from scans.formats.entries import Entries, FolderEntries, ZipEntries
from scans.formats.errors import FormatError
from scans.formats.slices import open_slices
from scans.formats.sources import Opened

_ZARR_MARKERS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
"""Files that make a folder a Zarr group or array."""


def open_container(path: Path, stack: ExitStack, dataset: str | None = None) -> Opened:
    """The volume in a folder or archive; of a Zarr, the array of that name where one is given.

    Raises FormatError where there is none, or parts of several.
    """
    return _open_folder(path, stack, dataset) if path.is_dir() else _open_archive(path, stack, dataset)


def open_slice(path: Path, stack: ExitStack) -> Opened:
    """A single DICOM file: a volume of one slice, or of its frames. Raises FormatError that names the file."""
    try:
        return open_slices(FolderEntries(path.parent, (path.name,)), stack)
    except FormatError as error:
        if error.path != path.parent:
            raise
        raise FormatError(path, error.found, error.accepted) from error


def _open_folder(path: Path, stack: ExitStack, dataset: str | None) -> Opened:
    if any((path / marker).is_file() for marker in _ZARR_MARKERS):
        from scans.formats.ome_zarr import open_ome_zarr

        return open_ome_zarr(path, dataset)
    return _open_slices(FolderEntries.of(path), stack, dataset)


def _open_slices(entries: Entries, stack: ExitStack, dataset: str | None) -> Opened:
    if dataset is not None:
        found = f"a data set is named, {dataset[:80]!r}, in a folder or archive of files"
        raise FormatError(entries.path, found, "the name of an array for a Zarr, and none for other files")
    return open_slices(entries, stack)


def _open_archive(path: Path, stack: ExitStack, dataset: str | None) -> Opened:
    entries = ZipEntries.of(path, stack)
    names = [member.filename for member in entries.members.values()]
    roots = [name for name in names if name.rpartition("/")[2] in _ZARR_MARKERS]
    if roots:
        from scans.formats.ome_zarr import open_ome_zarr_zip

        root = min(roots, key=lambda name: name.count("/")).rpartition("/")[0]
        return open_ome_zarr_zip(entries, root, stack, dataset)
    return _open_slices(entries, stack, dataset)
