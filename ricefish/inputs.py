"""Inputs: the scans, or label volumes, that arguments of a command stand for; a folder is one, or holds some."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from ricefish.folder_contents import is_zarr, read_contents, voxels_beside
from scans.formats import ACCEPTED, stem
from scans.formats.numbered_names import natural_key
from scans.formats.side_files import is_leftover


@dataclass(frozen=True)
class ScanInput:
    """One scan, and where among the results its own belongs."""

    path: Path
    place: PurePath
    """Below the folder of results, without a suffix."""


@dataclass
class Inputs:
    """What the arguments of a command stand for."""

    scans: list[ScanInput] = field(default_factory=list)
    refused: dict[Path, str] = field(default_factory=dict)
    """Folders of which nothing can be sent, each with the reason."""
    passed_over: list[Path] = field(default_factory=list)
    """Files in folders that are no scans, and the folder of results where that is named among others."""
    known: set[Path] = field(default_factory=set)
    """The scans' paths with every link followed."""

    def add(self, scan: ScanInput) -> None:
        """Adds a scan; one that is there already, by a link or in a folder that is named too, keeps its first place."""
        there = scan.path.resolve()
        if there not in self.known:
            self.known.add(there)
            self.scans.append(scan)


def expanded(arguments: Iterable[Path]) -> list[Path]:
    """The files and folders that are named, and those that patterns match, each once, in the order of the arguments.

    Raises FileNotFoundError for what is not there, and for a pattern that matches nothing.
    """
    found: dict[Path, Path] = {}
    for argument in arguments:
        for path in _matches(argument):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def read_inputs(paths: Iterable[Path], *, besides: Path | None = None, labels: bool = False) -> Inputs:
    """The scans among files and folders, in the order of their names; `besides` is the folder of results, if any.

    `labels`: label volumes are looked for, so that segmentations count as well.

    A folder is one scan if it is a Zarr, or holds the slices of a DICOM, TIFF or picture series; else each scan in it,
    and in its folders, is one of its own, with a place as in the folder. Files that are named are scans, whatever they
    hold, but for the voxels of a header that is named too. A scan that is met twice is one, at its first place.

    The folder of results is passed over, as a pattern may match it; raises ValueError where nothing else is named.
    """
    inputs = Inputs()
    named = list(paths)
    results = None if besides is None else besides.resolve()
    if [path.resolve() for path in named] == [results]:
        raise ValueError(
            f"{named[0]} is both where the scans are and where the results go; give another folder with -o"
        )
    voxels = {voxels.resolve() for voxels in voxels_beside(named)}
    for path in named:
        if not path.is_dir():
            if path.resolve() not in voxels:
                inputs.add(ScanInput(path, PurePath(stem(path))))
            continue
        if path.resolve() == results:
            inputs.passed_over.append(path)
            continue
        if not _add_folder(inputs, path, place=PurePath(), besides=results, labels=labels):
            inputs.refused[path] = f"no {'label volume' if labels else 'scan'} in this folder; accepted: {ACCEPTED}"
    return inputs


def _matches(argument: Path) -> list[Path]:
    if argument.exists():
        return [argument]
    if not glob.has_magic(str(argument)):
        raise FileNotFoundError(f"{argument} does not exist")
    matched = sorted(glob.glob(str(argument), recursive=True), key=natural_key)  # noqa: PTH207 - one may be absolute
    useful = [Path(path) for path in matched if not is_leftover(Path(path).name)]
    if not useful:
        raise FileNotFoundError(f"{argument}: no file or folder has such a name")
    return useful


def _add_folder(
    inputs: Inputs,
    folder: Path,
    *,
    place: PurePath,
    besides: Path | None,
    labels: bool,
    above: frozenset[Path] = frozenset(),
) -> bool:
    """Adds what is in a folder; gives whether a scan, or one that is refused, is there.

    `above` are the folders that it lies in, so that links that lead back to one are not gone.
    """
    here = folder.resolve()
    if here == besides or here in above:
        return False
    whole = ScanInput(folder, place if place.name else PurePath(stem(Path(here))))
    if is_zarr(folder):
        inputs.add(whole)
        return True
    try:
        contents = read_contents(folder, labels=labels)
    except OSError as error:
        inputs.refused[folder] = f"the folder cannot be read: {error.strerror}"
        return True
    if contents.series and contents.volumes:
        inputs.refused[folder] = (
            f"slices, such as {contents.series[0].name}, among other scans, such as {contents.volumes[0].name}; put "
            "the slices into a folder of their own"
        )
    elif contents.series:
        inputs.add(whole)
        return True
    else:
        for path in contents.volumes:
            inputs.add(ScanInput(path, place / stem(path)))
    inputs.passed_over += contents.others
    found = bool(contents.volumes)
    for inner in contents.folders:
        below = place / stem(inner)
        found |= _add_folder(inputs, inner, place=below, besides=besides, labels=labels, above=above | {here})
    return found
