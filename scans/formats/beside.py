"""A header and, beside it, the file with its voxels: in a folder, or in an archive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from scans.formats.entries import Entries, ZipEntries
from scans.formats.errors import FormatError
from scans.formats.file_names import same_name

_HEADER_BYTES = 1 << 16
_STATING = {".mhd": "=", ".nhdr": ":"}
_BESIDE_IT = "voxels in the file itself, or in one file beside it"
_DATA_FIELDS = frozenset({"elementdatafile", "data file", "datafile"})


@dataclass(frozen=True)
class VoxelFile:
    """A file from which voxels are read."""

    path: Path
    """What messages call it; of an entry, the archive's path and its name in it."""
    size: int
    """Bytes, unpacked."""
    open: Callable[[], BinaryIO]
    """A stream from its beginning, to be closed."""
    random_access: bool = True
    """False where a place in it can only be reached by unpacking everything before."""

    @classmethod
    def of(cls, path: Path) -> VoxelFile:
        """A file on disk."""
        return cls(path, path.stat().st_size, lambda: path.open("rb"))


@dataclass(frozen=True)
class Beside:
    """A file, and those that lie beside it."""

    file: VoxelFile
    find: Callable[[str], VoxelFile | None]
    """The file of a name beside it; letters in another case, or composed otherwise, make no difference."""

    @classmethod
    def on_disk(cls, path: Path) -> Beside:
        """A file in a folder."""

        def find(name: str) -> VoxelFile | None:
            exact = path.with_name(name)
            alike = [exact] if exact.is_file() else [one for one in path.parent.iterdir() if same_name(one.name, name)]
            return VoxelFile.of(alike[0]) if len(alike) == 1 and alike[0].is_file() else None

        return cls(VoxelFile.of(path), find)

    @classmethod
    def in_archive(cls, entries: ZipEntries, name: str) -> Beside:
        """An entry of an archive."""
        folder = str(PurePosixPath(name).parent)

        def entry(found: str) -> VoxelFile:
            size = entries.members[found].file_size
            return VoxelFile(entries.path / found, size, lambda: entries.stream(found), random_access=False)

        def find(wanted: str) -> VoxelFile | None:
            there = [one for one in entries.members if str(PurePosixPath(one).parent) == folder]
            alike = [one for one in there if same_name(PurePosixPath(one).name, wanted)]
            return entry(alike[0]) if len(alike) == 1 else None

        return cls(entry(name), find)

    @classmethod
    def among(cls, entries: Entries, name: str) -> Beside:
        """A file of a folder or archive."""
        if isinstance(entries, ZipEntries):
            return cls.in_archive(entries, name)
        return cls.on_disk(entries.path / name)

    def voxels(self, name: str) -> VoxelFile:
        """The file that a header names. Raises FormatError for lists, patterns and other folders, and for none."""
        path, name = self.file.path, _here(name)
        plain = PurePosixPath(name).name == name == PureWindowsPath(name).name
        if not plain or name.split(maxsplit=1)[0] == "LIST" or "%" in name:
            raise FormatError(path, f"voxels in {name[:80]!r}, a list, a pattern or another folder", _BESIDE_IT)
        found = self.find(name)
        if found is None:
            accepted = "header and voxels in one folder or zip, or voxels in the file itself (.nrrd, .mha, .nii)"
            raise FormatError(path, f"voxels in {name[:80]!r}, which is not beside it", accepted)
        return found


def voxel_files(header: Path) -> list[Path]:
    """The files beside a detached header that hold its voxels; none for other files."""
    names = voxel_file_names(header)
    beside = sorted(header.parent.iterdir()) if names else ()
    return [file for file in beside if any(same_name(file.name, name) for name in names)]


def voxel_file_names(header: Path) -> tuple[str, ...]:
    """Names that a detached header's voxels may have, by what it says, or else by its own; none for other files."""
    suffix = header.suffix.lower()
    if suffix == ".hdr":
        return (f"{header.stem}.img", f"{header.stem}.img.gz")
    if suffix not in _STATING:
        return ()
    with header.open("rb") as file:
        lines = file.read(_HEADER_BYTES).decode("utf-8", "replace").splitlines()
    fields = [line.partition(_STATING[suffix]) for line in lines]
    stated = [_here(value.strip()) for key, _, value in fields if key.strip().lower() in _DATA_FIELDS]
    return tuple(stated) or tuple(f"{header.stem}{ending}" for ending in (".raw", ".zraw", ".raw.gz"))


def _here(name: str) -> str:
    """A name without the folder in which the header is itself."""
    return name.removeprefix("./").removeprefix(".\\")
