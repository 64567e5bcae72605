"""What lies in a folder: volumes, each a scan of its own, or the slices of one, by the rules by which a server reads.

Names decide where they say enough, so that of a folder of thousands of slices on a slow disk few are opened.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scans.formats import FormatError, stem
from scans.formats.beside import voxel_files
from scans.formats.numbered_names import natural_key
from scans.formats.side_files import is_leftover, is_side_file
from scans.formats.signatures import START_BYTES, known_by
from scans.formats.tiff_pages import count_pages, is_tiff

_ZARR_MARKERS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
_TIFF = (".tif", ".tiff")
_PICTURES = (".png", ".bmp")
_SEGMENTATION = ".seg.nrrd"
"""By its name what came of a scan; no scan, though a label volume."""
_FEWEST_SLICES = 2
"""A single picture is a preview, a single page a scan of one slice."""


@dataclass
class FolderContents:
    """The files of a folder by what they are; hidden ones and those of desktops are nowhere."""

    volumes: list[Path] = field(default_factory=list)
    series: list[Path] = field(default_factory=list)
    """Slices that are one scan together."""
    others: list[Path] = field(default_factory=list)
    """Files that hold no scan."""
    folders: list[Path] = field(default_factory=list)


def is_zarr(folder: Path) -> bool:
    """True for a folder that is a Zarr group or array."""
    return any((folder / marker).is_file() for marker in _ZARR_MARKERS)


def read_contents(folder: Path, *, labels: bool = False) -> FolderContents:
    """What lies in a folder, in natural order of the names; `labels`: segmentations are volumes too.

    DICOM files are one series together; so are TIFF files of one page each, and pictures where there is nothing else. A
    file whose name or beginning is that of a format is a volume, though it may be damaged. Raises OSError.
    """
    contents = FolderContents()
    dicom: list[Path] = []
    tiff: list[Path] = []
    pictures: list[Path] = []
    for path in _files(folder, contents.folders):
        name, suffix = path.name.lower(), path.suffix.lower()
        if suffix in _PICTURES:
            pictures.append(path)
        elif is_side_file(name) or (name.endswith(_SEGMENTATION) and not labels):
            contents.others.append(path)
        elif suffix in _TIFF:
            tiff.append(path)
        elif suffix == ".dcm":
            dicom.append(path)
        elif stem(path) != path.name:
            contents.volumes.append(path)
        else:
            {"tiff": tiff, "dicom": dicom, "volume": contents.volumes}.get(_kind(path), contents.others).append(path)
    _sort_slices(contents, dicom=dicom, tiff=tiff, pictures=pictures)
    return contents


def voxels_beside(files: Iterable[Path]) -> Iterator[Path]:
    """The files beside headers among these that hold their voxels."""
    for path in files:
        with suppress(OSError):  # a header that cannot be read is refused by its name, when it is sent
            yield from voxel_files(path)


def _files(folder: Path, folders: list[Path]) -> list[Path]:
    """The files without leftovers and without the voxels of headers; folders are added to `folders`."""
    there = sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
    there = [path for path in there if not is_leftover(path.name)]
    folders += [path for path in there if path.is_dir()]
    files = [path for path in there if not path.is_dir()]
    voxels = set(voxels_beside(files))
    return [path for path in files if path not in voxels]


def _kind(path: Path) -> str:
    """By its first bytes, of a file whose name says nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
    except OSError:
        return "other"
    if is_tiff(start):
        return "tiff"
    known = known_by(start)
    if known is None:
        return "other"
    return "dicom" if ".dcm" in known.suffixes else "volume"


def _sort_slices(contents: FolderContents, *, dicom: list[Path], tiff: list[Path], pictures: list[Path]) -> None:
    if dicom:
        contents.series, contents.others = [*dicom, *tiff], [*contents.others, *pictures]
    elif tiff and not _are_slices(tiff):
        contents.volumes = sorted([*contents.volumes, *tiff], key=lambda path: natural_key(path.name))
        contents.others += pictures
    elif tiff:
        contents.series, contents.others = tiff, [*contents.others, *pictures]
    elif len(pictures) >= _FEWEST_SLICES and not contents.volumes:
        contents.series = pictures
    else:
        contents.others += pictures


def _are_slices(tiff: list[Path]) -> bool:
    """Whether TIFF files have a page each: the first, the last and the one between tell it of all."""
    if len(tiff) < _FEWEST_SLICES:
        return False
    pages = [_pages(path) for path in (tiff[0], tiff[len(tiff) // 2], tiff[-1])]
    return 1 in pages and all(count in (1, None) for count in pages)


def _pages(path: Path) -> int | None:
    """None for a damaged file."""
    try:
        with path.open("rb") as file:
            return count_pages(path, file)
    except (FormatError, OSError, struct.error):
        return None
