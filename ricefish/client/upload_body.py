"""What is sent: a file as it is; a folder (a series, an OME-Zarr), or a header with its voxels beside it, as a zip.

The zip is made on the way.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from scans.formats.beside import voxel_files
from scans.formats.file_names import readable

PIECE_BYTES = 1 << 20

Report = Callable[[int], None]
"""Called with the number of bytes that have gone over the wire."""


def upload_name(path: Path) -> str:
    """The name to send a file or folder under, as UTF-8 can say it."""
    return readable(f"{path.name}.zip" if zipped_files(path) else path.name)


def upload_path(path: Path) -> str:
    """The same behind the folder that the path names before it, where it names one: day_7/fish.tif."""
    return "/".join(part for part in (readable(path.parent.name), upload_name(path)) if part)


def upload_bytes(path: Path) -> int:
    """Bytes on disk: exactly what is sent of a file, nearly what is sent of a folder."""
    return sum(file.stat().st_size for file in zipped_files(path) or [path])


def zipped_files(path: Path) -> list[Path]:
    """The files that are sent of it in a zip; none for one that is sent as it is.

    Raises FileNotFoundError for a folder without files.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        if not files:
            raise FileNotFoundError(f"{path} holds no file")
        return files
    beside = voxel_files(path)
    return [path, *beside] if beside else []


def pieces(path: Path) -> Iterator[bytes]:
    """The bytes to send; memory is that of one piece."""
    if files := zipped_files(path):
        yield from _zipped(files, names_from=path.parent if path.name else path)
        return
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def digest(path: Path) -> str:
    """SHA-256 of the bytes to send, in hexadecimal."""
    summed = hashlib.sha256()
    for piece in pieces(path):
        summed.update(piece)
    return summed.hexdigest()


def pieces_of(content: bytes) -> Iterator[bytes]:
    """Bytes in memory, piece by piece."""
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


def reported(stream: Iterator[bytes], report: Report | None, *, before: int = 0) -> Iterator[bytes]:
    """The same pieces; each is reported once the next one is asked for. `before`: bytes that went earlier."""
    done = before
    for piece in stream:
        yield piece
        done += len(piece)
        if report:
            report(done)


def _zipped(files: list[Path], *, names_from: Path) -> Iterator[bytes]:
    buffer = _Outgoing()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            name = file.relative_to(names_from).as_posix()
            entry = zipfile.ZipInfo(readable(name))
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while piece := source.read(PIECE_BYTES):
                    target.write(piece)
                    yield buffer.taken()
    yield buffer.taken()


class _Outgoing(io.RawIOBase):
    """Where the zip is written: holds what has not been sent yet, and cannot be gone back in."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]  # zipfile writes bytes and nothing else
        self._held += piece
        return len(piece)

    def taken(self) -> bytes:
        piece = bytes(self._held)
        self._held.clear()
        return piece
