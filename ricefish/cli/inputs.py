"""Inputs: the scans that the arguments of a command stand for. A folder may be one scan, or hold some."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from ricefish.cli.folder_contents import FolderContents, is_zarr, read_contents, voxels_beside
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
    """Files in folders that are no scans."""


def expanded(arguments: Iterable[Path]) -> list[Path]:
    """The files and folders that are named, and those that patterns match, each once, in the order of the arguments.

    Raises FileNotFoundError for what is not there, and for a pattern that matches nothing.
    """
    found: dict[Path, Path] = {}
    for argument in arguments:
        for path in _matches(argument):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def read_inputs(paths: Iterable[Path], *, besides: Path) -> Inputs:
    """The scans among files and folders, in the order of their names; `besides` is the folder of results.

    A folder is one scan if it is a Zarr, or holds the slices of a DICOM, TIFF or picture series; else each scan in it,
    and in its folders, is one of its own, with a place as in the folder. Files that are named are scans, whatever they
    hold, but for the voxels of a header that is named too.
    """
    inputs = Inputs()
    named = list(paths)
    voxels = {voxels.resolve() for voxels in voxels_beside(named)}
    for path in named:
        if not path.is_dir():
            if path.resolve() not in voxels:
                inputs.scans.append(ScanInput(path, PurePath(stem(path))))
            continue
        before = len(inputs.scans), len(inputs.refused)
        _add_folder(inputs, path, place=PurePath(), besides=besides.resolve(), above=frozenset())
        if (len(inputs.scans), len(inputs.refused)) == before:
            inputs.refused[path] = f"no scan in this folder; accepted: {ACCEPTED}"
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


def _add_folder(inputs: Inputs, folder: Path, *, place: PurePath, besides: Path, above: frozenset[Path]) -> None:
    """Adds what is in a folder; `above` are those that it lies in, so that links that lead back to one are not gone."""
    here = folder.resolve()
    if here == besides or here in above:
        return
    whole = ScanInput(folder, place if place.name else PurePath(stem(Path(here))))
    if is_zarr(folder):
        inputs.scans.append(whole)
        return
    try:
        contents = read_contents(folder)
    except OSError as error:
        inputs.refused[folder] = f"the folder cannot be read: {error.strerror}"
        return
    if contents.series and contents.volumes:
        inputs.refused[folder] = (
            f"slices, such as {contents.series[0].name}, among other scans, such as {contents.volumes[0].name}; put "
            "the slices into a folder of their own"
        )
    elif contents.series:
        inputs.scans.append(whole)
        return
    else:
        inputs.scans += _volumes(contents, place)
    inputs.passed_over += contents.others
    for inner in contents.folders:
        _add_folder(inputs, inner, place=place / stem(inner), besides=besides, above=above | {here})


def _volumes(contents: FolderContents, place: PurePath) -> Iterator[ScanInput]:
    for path in contents.volumes:
        yield ScanInput(path, place / stem(path))
