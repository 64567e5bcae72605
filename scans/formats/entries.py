"""The files of a folder or of a .zip, as one thing: names in natural order, junk left out, opened one at a time.

Nothing of an archive is ever written to disk, and one entry at most is in memory, so that an archive can neither write
outside its place nor fill memory or disk. Names that point outside the archive are refused all the same.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import BinaryIO, Protocol

from scans.formats.errors import FormatError
from scans.formats.file_names import entry_name, readable
from scans.formats.numbered_names import natural_key
from scans.formats.side_files import is_leftover

LARGEST_ENTRY = 1 << 30
"""Bytes of the largest slice or compressed chunk that is taken from an archive."""

MOST_ENTRIES = 1 << 20
_AES = 99
_COMPRESSIONS = {
    1: "Shrink", 2: "Reduce", 3: "Reduce", 4: "Reduce", 5: "Reduce", 6: "Implode", 9: "Deflate64", 10: "PKWARE DCL",
    12: "BZIP2", 14: "LZMA", 16: "IBM CMPSC", 18: "IBM TERSE", 19: "IBM LZ77", 20: "Zstandard", 93: "Zstandard",
    94: "MP3", 95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd",
}  # fmt: skip
_ZIP_AGAIN = (
    "a zip packed with Deflate, or not packed; zip it again with `zip -r NEW.zip FOLDER` or "
    "`7z a -tzip -mm=Deflate NEW.zip FOLDER`"
)

LONGEST_NAME = 1024
"""Characters of the longest name of a file in a folder or archive."""


class Entries(Protocol):
    """Files under relative names with forward slashes."""

    @property
    def path(self) -> Path:
        """The folder or archive."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """All but hidden and junk files, in natural order: slice_2 before slice_10, be letters large or small."""
        ...

    def stream(self, name: str) -> BinaryIO:
        """The file, for reading onwards from its beginning; to be closed."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The file, for reading at any place; to be closed. Raises FormatError for one that is too large to hold."""
        ...


class _BoundedFile(BufferedReader):
    """A file that makes no room for more bytes than it has: lengths in headers claim gigabytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return super().read()
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(max(0, min(size, left)))


@dataclass(frozen=True)
class FolderEntries:
    """The files of a folder and of those inside it; links to other folders are not followed."""

    path: Path
    names: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> FolderEntries:
        """Lists the folder."""
        found = [
            Path(folder, file).relative_to(path).as_posix()
            for folder, _, files in os.walk(path, followlinks=False)
            for file in files
        ]
        return cls(path, _useful(found))

    def stream(self, name: str) -> BinaryIO:
        """The file, to be closed."""
        return _BoundedFile(FileIO(self.path / name))

    def open(self, name: str) -> BinaryIO:
        """The file, to be closed. Raises FormatError for one that is larger than a slice may be."""
        file = self.stream(name)
        if (size := os.fstat(file.fileno()).st_size) > LARGEST_ENTRY:
            file.close()
            raise FormatError(self.path / name, f"a slice of {size} bytes", f"files of at most {LARGEST_ENTRY} bytes")
        return file


@dataclass(frozen=True)
class ZipEntries:
    """The files of an open archive."""

    path: Path
    names: tuple[str, ...]
    archive: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]
    """Every entry by its name in NFC, side files among them."""

    @classmethod
    def of(cls, path: Path, stack: ExitStack) -> ZipEntries:
        """Lists the archive.

        Raises FormatError for encrypted files, names that point out of it, and other compressions than Deflate: those
        of zipfile's that remain unpack a few kilobytes to hundreds of megabytes before they can be stopped.
        """
        archive = stack.enter_context(zipfile.ZipFile(path))
        if (count := len(archive.infolist())) > MOST_ENTRIES:
            raise FormatError(path, f"an archive of {count} entries", f"at most {MOST_ENTRIES} entries")
        members = {entry_name(member): member for member in archive.infolist() if not member.is_dir()}
        for name, member in members.items():
            _require_name_inside(path, name)
            _require_readable(path, name, member)
        return cls(path, _useful(list(members)), archive, members)

    def stream(self, name: str) -> BinaryIO:
        """The entry as it is unpacked, to be closed."""
        member = self.members[name]
        if not member.file_size and not member.CRC:
            return BytesIO()  # a zip of a few megabytes has tens of thousands of them
        return self.archive.open(member)  # type: ignore[return-value]

    def open(self, name: str) -> BinaryIO:
        """The entry, unpacked in memory. Raises FormatError for one that is too large for that."""
        self.require_bounded(name)
        return BytesIO(self.archive.read(self.members[name]))

    def require_bounded(self, name: str, *, most: int | None = None) -> None:
        """Raises FormatError for an entry that takes more memory than a slice or a chunk may, or than `most` bytes."""
        size, limit = self.members[name].file_size, LARGEST_ENTRY if most is None else most
        if size > limit:
            found = f"an archive whose entry {name!r} unpacks to {size} bytes"
            raise FormatError(self.path, found, f"entries of at most {limit} bytes there")


def _require_readable(path: Path, name: str, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & 1 or member.compress_type == _AES:
        kind = "encrypted with AES" if member.compress_type == _AES else "encrypted"
        raise FormatError(path, f"its entry {name!r} is {kind}", "a zip without a password: zip it again without one")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        kind = _COMPRESSIONS.get(member.compress_type, f"number {member.compress_type}")
        raise FormatError(path, f"compression {kind} is not supported (entry {name!r})", _ZIP_AGAIN)


def _require_name_inside(path: Path, name: str) -> None:
    if len(name) > LONGEST_NAME:
        found = f"an archive whose entry {name[:40]!r}... has a name of {len(name)} characters"
        raise FormatError(path, found, f"names of at most {LONGEST_NAME} characters")
    parts = name.replace("\\", "/").split("/")
    drive = name[1:2] == ":" and name[0].isascii() and name[0].isalpha()
    if (not parts[0] and name) or ".." in parts or drive:
        raise FormatError(
            path,
            f"an archive whose entry {name!r} points outside it",
            "names without .., a drive or a slash before them",
        )


def _useful(names: list[str]) -> tuple[str, ...]:
    useful = [name for name in names if not any(is_leftover(part) for part in name.split("/"))]
    return tuple(sorted(useful, key=lambda name: (natural_key(readable(name).casefold()), name)))
