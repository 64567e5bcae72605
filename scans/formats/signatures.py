"""What a file is, by its first bytes and not by its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from scans.formats.dicom_prefix import first_element
from scans.formats.errors import FormatError
from scans.formats.format_table import ACCEPTED, FORMATS, Format, Reader, SegmentsReader, reader, segments_reader
from scans.formats.sources import Opened
from scans.formats.streams import gzip_start

START_BYTES = 540
"""As many as the longest header has that says what a file is."""
GZIP = b"\x1f\x8b"

_SIGNATURES = tuple((re.compile(known.signature, re.DOTALL), known) for known in FORMATS if known.signature)

_NAMED = "the name of a data set for HDF5 and Zarr, frames or channels for TIFF, and none for other files"

_KNOWN = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"BM": "a BMP picture",
    b"CDF": "a netCDF or MINC 1 file",
    b"\xfd7zXZ": "an xz-compressed file",
    b"BZh": "a bzip2-compressed file",
    b"<": "a web page or other XML",
}


def reader_of(path: Path, *, dataset: str | None = None) -> Reader:
    """The reader for a file or folder, or for a data set in it that is named.

    Raises FormatError that says what the first bytes are, and for a name where the format has none.
    """
    known = _format_of(path)
    if dataset is None:
        return reader(known)
    if not known.datasets:
        raise FormatError(path, f"a data set is named, {dataset[:80]!r}, in a file that has no names in it", _NAMED)
    of_several: Callable[..., Opened] = reader(known)
    return partial(of_several, dataset=dataset)


def segments_reader_of(path: Path) -> SegmentsReader | None:
    """What opens a file or folder whose labels have names; None where files of its format have none."""
    return segments_reader(_format_of(path))


def _format_of(path: Path) -> Format:
    if path.is_dir():
        return next(known for known in FORMATS if known.folders)
    with path.open("rb") as file:
        start = file.read(START_BYTES)
        if not start:
            raise FormatError(path, "empty: the file has 0 bytes", ACCEPTED)
        if packed := start[:2] == GZIP:
            file.seek(0)
            start = gzip_start(path, file, START_BYTES)
    known = known_by(start, packed=packed)
    if known is None:
        described = _described(start)
        raise FormatError(path, f"gzip of {described}" if packed else f"an unknown format: {described}", ACCEPTED)
    return known


def known_by(start: bytes, *, packed: bool = False) -> Format | None:
    """The format of a file that begins so; `packed`: within gzip. None for one that is not known."""
    for signature, known in _SIGNATURES:
        if signature.match(start) and (known.gzipped or not packed):
            return known
    if not packed and first_element(start) is not None:
        return next(known for known in FORMATS if ".dcm" in known.suffixes)
    return None


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
