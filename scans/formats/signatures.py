"""What a file is, by its first bytes and not by its name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from scans.formats.errors import FormatError
from scans.formats.nifti import HEADER_BYTES, is_nifti, open_nifti
from scans.formats.sources import Opened

Reader = Callable[[Path, ExitStack], Opened]

ACCEPTED = (
    "NIfTI (.nii, .nii.gz), TIFF (.tif, .tiff: multi-page, BigTIFF, ImageJ, OME), NRRD (.nrrd), MetaImage (.mha), "
    "HDF5 (.h5), OME-Zarr 0.4 and 0.5 (folder or .zip), a DICOM series or single-page TIFF slices (folder or .zip)"
)


def reader_of(path: Path) -> Reader:
    """The reader for a file or folder. Raises FormatError that says what the first bytes are."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if start[:2] == b"\x1f\x8b":
        with gzip.open(path) as packed:
            start = packed.read(HEADER_BYTES)
    if is_nifti(start):
        return open_nifti
    raise FormatError(path, f"an unknown format; it begins with the bytes {start[:8].hex(' ')}", ACCEPTED)
