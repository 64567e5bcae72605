"""File names: what the sender of a file calls it, made safe to write to a disk and to show."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from serving.intake.refusals import RequestRefused

_LONGEST_NAME_BYTES = 200


def safe_filename(filename: str) -> str:
    """The last component of what the sender calls the file. Raises RequestRefused if nothing usable is left."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    name = re.sub(r"[\x00-\x1f\x7f]", "", name).strip()
    if not name or set(name) == {"."}:
        raise RequestRefused(
            f"filename is {filename!r}; it must be a file's name, such as fish.nii.gz", field="filename"
        )
    if len(name.encode()) > _LONGEST_NAME_BYTES:
        raise RequestRefused(f"filename is longer than {_LONGEST_NAME_BYTES} bytes", field="filename")
    return name
