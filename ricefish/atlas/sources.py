"""Which fish an atlas is of: files, folders and patterns on disk, and ids of finished scans on a server."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scans.formats import FormatError, stem
from scans.formats.errors import guarded
from scans.formats.format_table import FORMATS
from scans.formats.tiff_pages import count_pages

_ID = re.compile(r"[0-9a-f]{32}")
_ZARR_MARKERS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
_SLICES = (".dcm", ".png", ".bmp")
"""Files that are no volume each, but one all together."""
_TIFF = (".tif", ".tiff")
_SUFFIXES = tuple(sorted({suffix for known in FORMATS for suffix in known.suffixes} - {".dcm"}, key=len, reverse=True))


class NoSuchScan(ValueError):
    """What was named is no scan; the message lists all that are none."""


@dataclass(frozen=True)
class AtlasSource:
    """One label volume."""

    name: str
    """Of the fish, and of no other of the atlas."""
    path: Path | None = None
    scan_id: str = ""
    """On the server, where it is not on disk."""

    @property
    def shown(self) -> str:
        """Path or id."""
        return self.scan_id if self.path is None else str(self.path)

    def is_called(self, name: str) -> bool:
        """Whether a table of fish may mean it by that: its name, its path, its file's name with suffix or without, its
        id."""
        names = {self.name, self.shown}
        return name in names | (set() if self.path is None else {self.path.name, stem(self.path)})


def find_sources(given: Sequence[str], *, filename_of: Callable[[str], str]) -> list[AtlasSource]:
    """The label volumes that are meant by paths, folders of them, patterns and ids, each once, in that order.

    `filename_of` asks the server what the file of a scan was called. A name is that of the file without its suffix,
    with its folder's before it where others have the same. Raises NoSuchScan for what does not exist, folders without
    any label volume among it, and for names that are not told apart by their folders either.
    """
    found: dict[str, AtlasSource] = {}
    problems = []
    for text in given:
        path = Path(text)
        if not path.exists() and _ID.fullmatch(text):
            found[text] = AtlasSource(stem(Path(filename_of(text))) or text, scan_id=text)
            continue
        matches = [path] if path.exists() else sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207 - any root
        volumes = [volume for match in matches for volume in _volumes(match)]
        if not volumes:
            problems.append(_problem(text, path, matches))
        found |= {str(volume.absolute()): AtlasSource(stem(volume), volume) for volume in volumes}
    if problems:
        raise NoSuchScan("; ".join(problems))
    return _told_apart(list(found.values()))


def _problem(text: str, path: Path, matches: Sequence[Path]) -> str:
    if matches:
        return f"{text} holds no label volume: no file in it ends with {', '.join(_SUFFIXES)}"
    if glob.has_magic(text):
        return f"no file is called {text}"
    return f"{path} does not exist, and is no id of a scan (32 digits from 0 to f)"


def _volumes(path: Path) -> list[Path]:
    """A file or a folder that is one volume; of any other folder, the volumes in it."""
    if not path.is_dir() or _is_volume(path):
        return [path]
    inside = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    return [
        child for child in inside if (_is_volume(child) if child.is_dir() else child.name.lower().endswith(_SUFFIXES))
    ]


def _is_volume(folder: Path) -> bool:
    """Whether it is a Zarr, or slices of one volume: DICOM, PNG, BMP, or TIFF files of one page each."""
    if any((folder / marker).is_file() for marker in _ZARR_MARKERS):
        return True
    inside = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    if any(child.suffix.lower() in _SLICES for child in inside):
        return True
    stacks = [child for child in inside if child.suffix.lower() in _TIFF]
    return len(stacks) > 1 and _is_slice(stacks[0])


def _is_slice(path: Path) -> bool:
    """Whether a TIFF has one page; what cannot be read is a volume, of which it will be said why."""
    try:
        with guarded(path, "counting its pages"), path.open("rb") as file:
            return count_pages(path, file) == 1
    except (FormatError, OSError):
        return False


def _told_apart(sources: list[AtlasSource]) -> list[AtlasSource]:
    """With the folder's name, or the id, before names that several have."""
    twice = _twice(source.name for source in sources)
    named = [replace(source, name=_longer(source)) if source.name in twice else source for source in sources]
    still = _twice(source.name for source in named)
    if still:
        alike = ", ".join(source.shown for source in named if source.name in still)
        raise NoSuchScan(f"these have the same name, in folders of the same name: {alike}; rename one")
    return named


def _longer(source: AtlasSource) -> str:
    if source.path is None:
        return f"{source.name} ({source.scan_id[:8]})"
    return f"{source.path.absolute().parent.name}/{source.name}"


def _twice(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}
