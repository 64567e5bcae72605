"""File names: what the sender of a file calls it, made safe to write to a disk and to show."""

from __future__ import annotations

from pathlib import PurePosixPath

from scans.formats.file_names import readable
from serving.intake.refusals import RequestRefused
from serving.parsing.malformed import shown
from serving.parsing.texts import is_name

_LONGEST_NAME_BYTES = 200
_LONGEST_PATH = 4096
"""Characters of what a sender gives, folders with it."""
_WITHOUT_CONTROLS = dict.fromkeys((*range(32), 127))


def safe_filename(filename: str) -> str:
    """The last component of what the sender calls the file, in NFC. Raises RequestRefused if nothing usable is left."""
    if len(filename) > _LONGEST_PATH:
        raise RequestRefused(f"filename has {len(filename)} characters; at most {_LONGEST_PATH}", field="filename")
    name = PurePosixPath(filename.replace("\\", "/")).name.translate(_WITHOUT_CONTROLS).strip()
    name = readable(name)
    if not name or set(name) == {"."}:
        raise RequestRefused(
            f"filename is {shown(filename)}; it must be a file's name, such as fish.nii.gz", field="filename"
        )
    if len(name.encode()) > _LONGEST_NAME_BYTES:
        raise RequestRefused(f"filename is longer than {_LONGEST_NAME_BYTES} bytes", field="filename")
    return name


def folder_of(filename: str | None) -> str | None:
    """The last folder that the sender names before the file, in NFC; None where none is named that a name could be."""
    if filename is None or len(filename) > _LONGEST_PATH:
        return None
    folder = readable(PurePosixPath(filename.replace("\\", "/")).parent.name.translate(_WITHOUT_CONTROLS).strip())
    usable = is_name(folder) and set(folder) != {"."} and len(folder.encode()) <= _LONGEST_NAME_BYTES
    return folder if usable else None
