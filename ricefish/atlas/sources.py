"""Which fish an atlas is of: files, folders and patterns on disk, and ids of finished scans on a server."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ricefish.inputs import expanded, read_inputs
from scans.formats import stem

_ID = re.compile(r"[0-9a-f]{32}")


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

    Folders are read as a batch of scans reads them, and those in them too, so that results of one are found where it
    has put them. `filename_of` asks the server what the file of a scan was called. A name is that of the file without
    its suffix, with those of as many folders before it as tell it from others. Raises NoSuchScan for what does not
    exist, folders without any label volume among it, and for names that are not told apart by their folders either.
    """
    found: dict[str, AtlasSource] = {}
    problems = []
    for text in given:
        path = Path(text)
        if not path.exists() and _ID.fullmatch(text):
            found[text] = AtlasSource(stem(Path(filename_of(text))) or text, scan_id=text)
            continue
        try:
            inputs = read_inputs(expanded([path]), labels=True)
        except FileNotFoundError:
            problems.append(_no_match(text))
            continue
        problems += [f"{folder}: {why}" for folder, why in inputs.refused.items()]
        for scan in inputs.scans:
            found.setdefault(str(scan.path.resolve()), AtlasSource(stem(scan.path), scan.path))
    if problems:
        raise NoSuchScan("; ".join(problems))
    return _told_apart(list(found.values()))


def _no_match(text: str) -> str:
    if glob.has_magic(text):
        return f"no file is called {text}"
    return f"{text} does not exist, and is no id of a scan (32 digits from 0 to f)"


def _told_apart(sources: list[AtlasSource]) -> list[AtlasSource]:
    """With the names of folders, or the id, before names that several have."""
    named = sources
    for folders in range(1, 1 + max((len(_folders(source)) for source in sources), default=0)):
        if not (twice := _twice(source.name for source in named)):
            return named
        named = [_longer(source, folders) if source.name in twice else source for source in named]
    if twice := _twice(source.name for source in named):
        alike = ", ".join(source.shown for source in named if source.name in twice)
        raise NoSuchScan(f"these have the same name, in the same folder: {alike}; rename one")
    return named


def _folders(source: AtlasSource) -> tuple[str, ...]:
    """From the top; of a scan on the server its id stands for one."""
    return ("",) if source.path is None else source.path.absolute().parent.parts


def _longer(source: AtlasSource, folders: int) -> AtlasSource:
    if source.path is None:
        return replace(source, name=f"{source.name.partition(' (')[0]} ({source.scan_id[: 8 * folders]})")
    return replace(source, name="/".join([*_folders(source)[-folders:], stem(source.path)]))


def _twice(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}
