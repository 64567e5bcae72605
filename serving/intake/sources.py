"""Sources: scans that are fetched from where they lie, a folder that the server was allowed to read or an S3 bucket.

Whatever leads elsewhere is refused in the same words, be there a file or not: the answer tells nothing of the machine.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from scans.formats.beside import voxel_files

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PIECE_BYTES = 4 << 20


class SourceRefused(ValueError):
    """A source that this server may not, or cannot, read."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    name: str
    """Relative to the source, with forward slashes."""
    size: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Source:
    """A file, or a folder of files, to be fetched."""

    name: str
    """Its last component."""
    is_folder: bool
    files: tuple[SourceFile, ...]
    folder: str = ""
    """That it lies in, without what leads there; empty: none."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def fetch(self, folder: Path) -> str:
        """Copies it into a folder, under its name; gives the SHA-256 of its bytes, or of names and bytes if many.

        Raises SourceRefused if it changes meanwhile, and OSError.
        """
        digest = hashlib.sha256()
        for file in self.files:
            target = folder / self.name / file.name if self.is_folder else folder / self.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if self.is_folder:
                digest.update(os.fsencode(file.name) + f"\0{file.size}\0".encode())
            self._copy(file, target, digest.update)
        return digest.hexdigest()

    def _copy(self, file: SourceFile, target: Path, saw: Callable[[bytes], None]) -> None:
        size = 0
        with file.open() as source, target.open("xb") as copy:
            while piece := source.read(_PIECE_BYTES):
                saw(piece)
                copy.write(piece)
                size += len(piece)
        if size != file.size:
            raise SourceRefused(f"{self.name} is being changed: {file.name or 'it'} had {file.size} bytes, then {size}")


@dataclass(frozen=True)
class Sources:
    """What a server may read."""

    roots: tuple[Path, ...]
    buckets: tuple[str, ...]
    s3_endpoint: str | None

    def open(self, uri: str) -> Source:
        """The source that a file:// or s3:// address names; a header that is a file has its voxels with it.

        Raises SourceRefused.
        """
        try:
            parts = urlsplit(uri)
        except ValueError:
            raise self._refusal(uri) from None
        if parts.query or parts.fragment or parts.username or "\0" in unquote(uri):
            raise self._refusal(uri)
        if parts.scheme == "file" and parts.netloc in ("", "localhost"):
            return self._local(uri, Path(unquote(parts.path, errors="surrogateescape")))
        if parts.scheme == "s3" and parts.netloc in self.buckets:
            return self._object(uri, parts.netloc, unquote(parts.path).strip("/"))
        raise self._refusal(uri)

    def _refusal(self, uri: str) -> SourceRefused:
        return SourceRefused(
            f"{uri!r} is not a source that this server may read; it may read what is in the folders of "
            f"RICEFISH_SOURCE_ROOTS (file:///FOLDER/FILE) and in RICEFISH_SOURCE_BUCKETS (s3://BUCKET/KEY)"
        )

    def _local(self, uri: str, path: Path) -> Source:
        root = self._root_of(path)
        if root is None or ".." in path.parts:
            raise self._refusal(uri)
        try:
            kind = path.lstat().st_mode
            if stat.S_ISREG(kind):
                beside = [file for file in voxel_files(path) if stat.S_ISREG(file.lstat().st_mode)]
                names = [(file, file.name if beside else "") for file in (path, *beside)]
                files = tuple(_local_file(root, *one) for one in names)
                return Source(path.name, bool(beside), files, path.parent.name)
            if stat.S_ISDIR(kind):
                files = tuple(_local_file(root, file, file.relative_to(path).as_posix()) for file in _files(path))
                if files:
                    return Source(path.name, True, files, path.parent.name)
        except OSError:
            pass
        raise self._refusal(uri)

    def _root_of(self, path: Path) -> Path | None:
        """The allowed root that the path lies in with every link on the way followed."""
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        roots = (root.expanduser().resolve() for root in self.roots)
        return next((root for root in roots if real != root and real.is_relative_to(root)), None)

    def _object(self, uri: str, bucket: str, key: str) -> Source:
        if not key or any(part in ("", ".", "..") for part in key.split("/")):
            raise self._refusal(uri)
        import fsspec  # noqa: PLC0415  only who reads from a bucket waits for it

        s3 = fsspec.filesystem("s3", endpoint_url=self.s3_endpoint, skip_instance_cache=True)
        path = f"{bucket}/{key}"
        try:
            found = s3.find(path, detail=True)
        except Exception as error:  # what botocore raises for a key that cannot be one has no base but this
            raise SourceRefused(f"{uri!r} cannot be read: {type(error).__name__}") from error
        objects = [(name, int(info["size"])) for name, info in sorted(found.items()) if info["type"] == "file"]
        if not objects:
            raise self._refusal(uri)
        is_folder = [name for name, _ in objects] != [path]
        names = [name.removeprefix(path).lstrip("/") for name, _ in objects]
        if any(part == ".." for name in names for part in name.split("/")):
            raise self._refusal(uri)
        files = [
            SourceFile(name, size, _object_opener(s3, place))
            for name, (place, size) in zip(names, objects, strict=True)
        ]
        above, _, name = key.rpartition("/")
        return Source(name, is_folder, tuple(files), above.rpartition("/")[2])


def _files(folder: Path) -> Iterable[Path]:
    """All files below a folder in a fixed order. Raises OSError for what is neither file nor folder, links among it."""
    for entry in sorted(folder.iterdir()):
        kind = entry.lstat().st_mode
        if stat.S_ISDIR(kind):
            yield from _files(entry)
        elif stat.S_ISREG(kind):
            yield entry
        else:
            raise OSError(f"{entry} is neither a file nor a folder")


def _local_file(root: Path, path: Path, name: str) -> SourceFile:
    relative = path.resolve().relative_to(root)
    return SourceFile(name, path.lstat().st_size, lambda: _open_below(root, relative))


def _open_below(root: Path, relative: Path) -> BinaryIO:
    """Opens a file step by step from the root, each step without following a link.

    So a link that is put in its way after the path was looked at leads nowhere. Raises OSError.
    """
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for step in relative.parts[:-1]:
            below = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = below
        file = os.open(relative.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
    finally:
        os.close(handle)
    opened = os.fdopen(file, "rb")
    if not stat.S_ISREG(os.fstat(file).st_mode):
        opened.close()
        raise OSError(f"{relative} is no regular file any more")
    return opened


def _object_opener(s3: AbstractFileSystem, place: str) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        file: BinaryIO = s3.open(place, "rb", block_size=_PIECE_BYTES, cache_type="readahead")
        return file

    return opened
