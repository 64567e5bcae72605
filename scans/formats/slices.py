"""A folder or archive of slices: which files are slices, and of which kind."""

from __future__ import annotations

from pathlib import PurePosixPath

from scans.formats.dicom import open_dicom
from scans.formats.entries import Entries
from scans.formats.errors import FormatError
from scans.formats.sources import Opened
from scans.formats.tiff_folder import open_tiff_slices
from scans.formats.tiff_pages import is_tiff

SLICES = "single-page TIFF slices, or the DICOM files of one series, in one folder or .zip"

_DICOM_AT = 128
_SIDECARS = {
    ".txt", ".log", ".md", ".csv", ".xml", ".json", ".yaml", ".yml", ".ini", ".info", ".par", ".pdf", ".html", ".htm",
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".db", ".lut", ".rtf", ".doc", ".docx", ".xls", ".xlsx",
}  # fmt: skip


def open_slices(entries: Entries) -> Opened:
    """The volume whose slices are these files. Notes and pictures beside them are left out.

    Raises FormatError for a mixture, for a file that is neither a slice nor a note, and if there are no slices.
    """
    dicom, tiff, others = [], [], []
    for name in entries.names:
        with entries.stream(name) as file:
            start = file.read(_DICOM_AT + 4)
        if start[_DICOM_AT:] == b"DICM":
            dicom.append(name)
        elif is_tiff(start):
            tiff.append(name)
        elif PurePosixPath(name).suffix.lower() not in _SIDECARS:
            others.append((name, start))
    if dicom and tiff:
        raise FormatError(entries.path, f"{len(dicom)} DICOM files among {len(tiff)} TIFF files", SLICES)
    if not (dicom or tiff):
        listed = ", ".join(name for name, _ in others[:3]) or "no files"
        raise FormatError(entries.path, f"a folder or archive without slices ({listed})", f"{SLICES}; OME-Zarr")
    if others:
        name, start = others[0]
        what = f"no slice: it begins with {start[:8].hex(' ')}" if start else "empty"
        raise FormatError(entries.path, f"{name} is {what}", SLICES)
    return open_dicom(entries, dicom) if dicom else open_tiff_slices(entries, tiff)
