"""Whether the pixels of a DICOM slice may be decoded: by their transfer syntax, and by what they say of their size."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.encaps import encapsulate, generate_frames, get_frame
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from scans.formats.codestreams import stated_size
from scans.formats.dicom_prefix import first_element
from scans.formats.errors import FormatError

META_BYTES = 1 << 12
"""As many as the part of a file has that names its transfer syntax."""
_PREFIX = "1.2.840.10008.1.2"
_SYNTAXES = frozenset(
    _PREFIX + ending
    for ending in (
        "", ".1", ".2", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91",
        ".4.201", ".4.202", ".4.203",
    )
)  # fmt: skip
"""Plain, RLE, JPEG, JPEG-LS, JPEG 2000 and its high throughput kind."""
_NAMES = {_PREFIX + ".1.99": "deflated", _PREFIX + ".4.100": "MPEG-2", _PREFIX + ".4.102": "MPEG-4"}
_ACCEPTED = "plain DICOM (Explicit VR Little Endian: `dcmconv +te`), RLE, JPEG, JPEG-LS or JPEG 2000"


def require_readable_syntax(path: Path, name: str, start: bytes) -> None:
    """Raises FormatError where the file's beginning names a transfer syntax that is not read, or hides which it has.

    A deflated file is one of them: all of it would be unpacked, whatever it holds, for its header alone.
    """
    syntax = _transfer_syntax(start, first_element(start) or 0)
    if syntax is None:
        raise FormatError(path, f"{name} does not name its transfer syntax where DICOM files do", _ACCEPTED)
    if syntax and syntax not in _SYNTAXES:
        raise FormatError(path, f"{name} is in transfer syntax {_NAMES.get(syntax, syntax)}", _ACCEPTED)


def _transfer_syntax(start: bytes, at: int) -> str | None:
    """As pydicom will find it: the last in group 2, empty where there is none. None where that cannot be told."""
    found = ""
    while start[at : at + 2] == b"\x02\x00":
        kind = start[at + 4 : at + 6].decode("latin-1")
        if not (kind.isascii() and kind.isalpha() and kind.isupper()):
            return None
        long = kind in EXPLICIT_VR_LENGTH_32
        value = at + (12 if long else 8)
        length = int.from_bytes(start[at + 8 : value] if long else start[at + 6 : value], "little")
        if start[at + 2 : at + 4] == b"\x10\x00":
            found = start[value : value + length].decode("latin-1").strip("\0 ")[:64]
        at = value + length
    return found if at + 2 <= len(start) else None


def with_transfer_syntax(content: pydicom.Dataset) -> pydicom.Dataset:
    """The same, with the transfer syntax in which it was read where it names none, as a file without prefix does."""
    if "TransferSyntaxUID" not in content.file_meta:
        implicit, little = content.original_encoding
        plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        content.file_meta.TransferSyntaxUID = plain if little else ExplicitVRBigEndian
    return content


def packed_frames(content: pydicom.Dataset, frames: int) -> list[bytes]:
    """The frames of a file that has packed them, told apart once: to look for one goes through all that are before it.

    Raises ValueError where the file holds another number of them.
    """
    table = content.get("ExtendedOffsetTable")
    extended = None if table is None else (table, content.ExtendedOffsetTableLengths)
    found = list(generate_frames(content.PixelData, number_of_frames=frames, extended_offsets=extended))
    if len(found) != frames:
        raise ValueError(f"the file states {_count(frames)}, holds {len(found)}")
    return found


def hold_one_frame(content: pydicom.Dataset, packed: bytes) -> None:
    """Makes of a file of many frames one that holds this frame alone."""
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if name in content:
            del content[name]
    content.NumberOfFrames = 1
    content.PixelData = encapsulate([packed], has_bot=False)


def require_stated_size(content: pydicom.Dataset, size: tuple[int, int], *, frame: int, frames: int) -> None:
    """Raises ValueError where the pixels of a frame are another picture than that of (rows, columns) which the file
    states, and where it holds another number of frames.
    """
    if not content.file_meta.TransferSyntaxUID.is_encapsulated:
        one = size[0] * size[1] * int(content.get("BitsAllocated", 16)) // 8
        if len(content.PixelData) // one != frames:
            raise ValueError(f"the file states {_count(frames)}, holds {len(content.PixelData) // one}")
        return
    stated = stated_size(get_frame(content.PixelData, frame, number_of_frames=frames))
    if frames == 1 and len(list(generate_frames(content.PixelData, number_of_frames=1))) > 1:
        raise ValueError("the file states 1 frame, holds more")
    if stated is not None and stated != size:
        raise ValueError(f"they are a picture of {stated[0]} x {stated[1]}, not {size[0]} x {size[1]}")


def _count(frames: int) -> str:
    return "1 frame" if frames == 1 else f"{frames} frames"
