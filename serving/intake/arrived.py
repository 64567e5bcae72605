"""Arrived: the checksum of what has arrived of an upload. It grows with the upload, so that no byte changes unnoticed.

It is written down when the upload is begun, and after each part. What arrived of a part that broke off is added when
the upload goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from isal import isal_zlib

from serving.storage import replace_text
from serving.storage.sealed import NoteDamaged, sealed, unsealed

INFO_FILE = "upload.json"
DATA_FILE = "data"
CHECKSUM_FILE = "arrived.json"
_PIECE_BYTES = 4 << 20


class UploadDamaged(ValueError):
    """What lies on the disk of an upload is not what arrived."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            f"upload {upload_id} was damaged on the server's disk, and is removed; begin it again from its first byte"
        )


def arrived(folder: Path, data: Path, *, size: int) -> int:
    """CRC-32 of the first `size` bytes of an upload, as they arrived. Raises UploadDamaged where fewer are there.

    Of the bytes since the last part that came whole, it is what the disk gives.
    """
    known, checksum = _read(folder)
    if known > size:
        raise UploadDamaged(folder.name)
    return _continued(data, checksum, start=known, stop=size)


def write_down(folder: Path, *, size: int, checksum: int) -> None:
    """At the begin and after a part that came whole; durable on return. FileNotFoundError where the upload is gone."""
    replace_text(folder / CHECKSUM_FILE, sealed({"size": size, "crc32": checksum}))


def check(folder: Path, data: Path) -> None:
    """Reads all of an upload. Raises UploadDamaged unless it is what arrived."""
    known, checksum = _read(folder)
    size = data.stat().st_size
    if known > size or _continued(data, 0, start=0, stop=known) != checksum:
        raise UploadDamaged(folder.name)


def damaged_uploads(uploads: Path) -> Iterator[str]:
    """Ids of uploads, each a folder, that are not what arrived, or half of which is gone."""
    for folder in sorted(uploads.glob("[!.]*")):
        try:
            unsealed((folder / INFO_FILE).read_text(encoding="utf-8"), of=f"upload {folder.name}")
            check(folder, folder / DATA_FILE)
        except (UploadDamaged, NoteDamaged, OSError, ValueError):
            if folder.is_dir():  # else it has become a scan meanwhile
                yield folder.name


def are_owned(uploads: Path) -> bool:
    """Whether one of them, each a folder, was begun with an API key."""
    return any(map(_has_owner, uploads.glob("[!.]*")))


def _has_owner(folder: Path) -> bool:
    try:
        info = unsealed((folder / INFO_FILE).read_text(encoding="utf-8"), of=f"upload {folder.name}")
    except (NoteDamaged, OSError, ValueError):  # nobody is handed such an upload
        return False
    return isinstance(info, dict) and info.get("owner") is not None


def _read(folder: Path) -> tuple[int, int]:
    """Bytes, and their checksum. Raises UploadDamaged where it is gone, FileNotFoundError where the upload is."""
    try:
        content = unsealed((folder / CHECKSUM_FILE).read_text(encoding="utf-8"), of=f"upload {folder.name}")
        return content["size"], content["crc32"]
    except FileNotFoundError:
        if folder.is_dir():
            raise UploadDamaged(folder.name) from None
        raise
    except (NoteDamaged, ValueError) as error:
        raise UploadDamaged(folder.name) from error


def _continued(data: Path, checksum: int, *, start: int, stop: int) -> int:
    with data.open("rb") as file:
        file.seek(start)
        left = stop - start
        while left and (piece := file.read(min(_PIECE_BYTES, left))):
            checksum = isal_zlib.crc32(piece, checksum)
            left -= len(piece)
    return checksum
