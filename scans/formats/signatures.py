"""What a file is, by its first bytes and not by its name."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from scans.formats.errors import FormatError
from scans.formats.metaimage import open_metaimage
from scans.formats.nifti import HEADER_BYTES, is_nifti, open_nifti
from scans.formats.nrrd import SIGNATURE as NRRD
from scans.formats.nrrd import open_nrrd
from scans.formats.sources import Opened

Reader = Callable[[Path, ExitStack], Opened]

ACCEPTED = (
    "NIfTI (.nii, .nii.gz), TIFF (.tif, .tiff: multi-page, BigTIFF, ImageJ, OME), NRRD (.nrrd), MetaImage (.mha), "
    "HDF5 (.h5), OME-Zarr 0.4 and 0.5 (folder or .zip), a DICOM series or single-page TIFF slices (folder or .zip)"
)

_KNOWN = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"CDF": "a netCDF or MINC 1 file",
    b"\xfd7zXZ": "an xz-compressed file",
    b"BZh": "a bzip2-compressed file",
    b"<": "a web page or other XML",
}


def reader_of(path: Path) -> Reader:
    """The reader for a file or folder. Raises FormatError that says what the first bytes are."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if not start:
        raise FormatError(path, "empty: the file has 0 bytes", ACCEPTED)
    packed = start[:2] == b"\x1f\x8b"
    if packed:
        with gzip.open(path) as decoded:
            start = decoded.read(HEADER_BYTES)
        if not is_nifti(start):
            raise FormatError(path, f"a gzip file that holds {_described(start)}", ACCEPTED)
    if is_nifti(start):
        return open_nifti
    if start.startswith(NRRD):
        return open_nrrd
    if re.match(rb"(ObjectType|NDims|Comment|ObjectSubType)\s*=", start):
        return open_metaimage
    raise FormatError(path, f"an unknown format: {_described(start)}", ACCEPTED)


def _described(start: bytes) -> str:
    if not start:
        return "nothing"
    if not start.strip(b"\0"):
        return "nothing but zero bytes at its beginning"
    if start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return "an ANALYZE 7.5 header, or a NIfTI whose magic is damaged"
    for signature, name in _KNOWN.items():
        if start.startswith(signature):
            return name
    readable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in start[:16])
    return f"its first bytes are {start[:16].hex(' ')} ({readable!r})"
