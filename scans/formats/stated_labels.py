"""Names and colours of labels as files of other programs, and of this one, state them: in the file, or beside it."""

# ruff: noqa: PLC0415 - a format's library is imported for files of that format alone
from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from scans.formats.errors import FormatError, guarded, without_warnings
from scans.formats.format_table import stem
from scans.formats.segments import read_segments
from scans.formats.signatures import GZIP, START_BYTES, known_by
from scans.formats.streams import gzip_start
from scans.formats.textheader import read_text_header
from scans.organs import MAX_CLASSES, Colour, OrganMap, OrganMapError

_Labels = dict[int, tuple[str, Colour | None]]
"""Name and colour of each value of a voxel."""

_NAMED = "label values from 1 to 254, each with a name of its own"
_LARGEST_METADATA = 4 << 20
_CARET = 30
"""The code of NIfTI's extensions that Connectome Workbench reads."""
_ITK_SNAP_LINE = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+\S+\s+\d+\s+\d+\s+"(.*)"\s*')
_METADATA = ("zarr.json", ".zattrs")


def stated_organs(path: Path) -> OrganMap | None:
    """The organs of a label volume, by what its file says of its labels; None where it says nothing.

    Beside any file, NAME_labels.txt is looked for first, a label description of ITK-SNAP. In it: segments of NRRD as
    3D Slicer has them, NIfTI's extension of Connectome Workbench, OME-Zarr's image label, and what Ricefish writes into
    TIFF and HDF5. Names are in lower case, with _ for what parts words; values between those that are named are
    label_N. Raises FormatError where names stand twice, or for values that are no class index.
    """
    beside = path.with_name(f"{stem(path)}_labels.txt")
    if beside.is_file():
        with guarded(beside, "reading names of labels"):
            return _organ_map(beside, _itk_snap(beside))
    with guarded(path, "reading names of labels"), without_warnings():
        read = _reader(path)
        labels = read(path) if read else {}
        return _organ_map(path, labels) if labels else None


def organ_name(stated: str) -> str:
    """A name as people write it, as that of an organ: "Swim-Bladder" is swim_bladder."""
    return "_".join(stated.replace("-", " ").replace("_", " ").split()).lower()


def _reader(path: Path) -> Callable[[Path], _Labels] | None:
    if path.is_dir():
        return _zarr_folder
    with path.open("rb") as file:
        start = file.read(START_BYTES)
        if packed := start[:2] == GZIP:
            file.seek(0)
            start = gzip_start(path, file, START_BYTES)
    known = known_by(start, packed=packed)
    return _READERS.get(known.suffixes[0]) if known else None


def _organ_map(path: Path, labels: _Labels) -> OrganMap:
    """With an organ for each value up to the greatest."""
    if any(not 1 <= value < MAX_CLASSES for value in labels) or not labels:
        found = ", ".join(map(str, sorted(labels)[:10])) or "none"
        raise FormatError(path, f"names of labels for the values {found}", _NAMED)
    entries: dict[int, dict[str, Any]] = {}
    for value in range(1, max(labels) + 1):
        name, colour = labels.get(value, (f"label_{value}", None))
        entries[value] = {
            "name": organ_name(name) or f"label_{value}",
            "colour": None if colour is None else list(colour),
        }
    try:
        return OrganMap.from_mapping(entries)
    except OrganMapError as error:
        raise FormatError(path, f"names of labels: {error}", _NAMED) from error


def _itk_snap(path: Path) -> _Labels:
    if path.stat().st_size > _LARGEST_METADATA:
        raise FormatError(path, "a label description of more than 4 MiB", "one as ITK-SNAP exports it")
    found: _Labels = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = _ITK_SNAP_LINE.fullmatch(line)
        if fields is not None and int(fields[1]):
            found[int(fields[1])] = (fields[5], (int(fields[2]), int(fields[3]), int(fields[4])))
    return found


def _nrrd(path: Path) -> _Labels:
    """By number where each segment has one of its own; else, as in several layers, one after another."""
    with path.open("rb") as file:
        pairs = read_text_header(path, file, separator=":", ends_with_blank_line=True).pairs
    segments = read_segments(path, pairs, layers=1)
    values = [segment.value for segment in segments]
    own = len(set(values)) == len(values) and all(value < MAX_CLASSES for value in values)
    return {
        (segment.value if own else number): (segment.name, _shares(colour))
        for number, (segment, colour) in enumerate(zip(segments, _segment_colours(pairs), strict=True), 1)
    }


def _segment_colours(pairs: Mapping[str, str]) -> list[str]:
    numbers = sorted({int(found[1]) for key in pairs if (found := re.match(r"segment(\d{1,4})_", key))})
    return [pairs.get(f"segment{number}_color", "") for number in numbers]


def _shares(text: str) -> Colour | None:
    """Red, green and blue from 0 to 1, as words."""
    try:
        red, green, blue = (round(255 * min(1.0, max(0.0, float(word)))) for word in text.split())
    except ValueError:
        return None
    return (red, green, blue)


def _nifti(path: Path) -> _Labels:
    import nibabel

    image: Any = nibabel.load(path)
    found: _Labels = {}
    for extension in getattr(image.header, "extensions", ()):
        if extension.get_code() != _CARET:
            continue
        tree = ElementTree.fromstring(extension.content.rstrip(b"\0"))  # noqa: S314 - expat bounds what entities make
        for label in tree.iter("Label"):
            if int(label.get("Key", "0")) > 0:
                colour = _shares(" ".join(label.get(part, "") for part in ("Red", "Green", "Blue")))
                found[int(label.get("Key", "0"))] = (label.text or "", colour)
    return found


def _tiff(path: Path) -> _Labels:
    import tifffile

    with tifffile.TiffFile(path, _multifile=False) as tiff:
        stated = tiff.imagej_metadata or {}
        palette: Any = getattr(tiff.pages[0], "colormap", None)
    found: _Labels = {}
    for key, name in stated.items():
        if (number := re.fullmatch(r"label_(\d{1,3})", str(key))) is not None:
            value = int(number[1])
            known = palette is not None and value < np.shape(palette)[1]
            found[value] = (str(name), _colour(palette[:, value] // 257) if known else None)
    return found


def _hdf5(path: Path) -> _Labels:
    import h5py

    found: list[str] = []

    def look(_: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and "organs" in node.attrs:
            found.append(str(node.attrs["organs"]))

    with h5py.File(path, "r") as file:
        file.visititems(look)
    if len(found) != 1:
        return {}
    organs = OrganMap.from_mapping(json.loads(found[0]))
    return {organ.index: (organ.name, organ.colour) for organ in organs.organs}


def _zarr_folder(path: Path) -> _Labels:
    for name in _METADATA:
        if (path / name).is_file() and (path / name).stat().st_size <= _LARGEST_METADATA:
            return _image_label(json.loads((path / name).read_text(encoding="utf-8")))
    return {}


def _zarr_archive(path: Path) -> _Labels:
    with zipfile.ZipFile(path) as archive:
        entries = [one for one in archive.infolist() if PurePosixPath(one.filename).name in _METADATA]
        if not entries:
            return {}
        outermost = min(entries, key=lambda one: one.filename.count("/"))
        if outermost.file_size > _LARGEST_METADATA:
            return {}
        return _image_label(json.loads(archive.read(outermost)))


def _image_label(metadata: dict[str, Any]) -> _Labels:
    attributes = metadata.get("attributes", metadata)
    label = attributes.get("ome", attributes).get("image-label") or {}
    colours = {one.get("label-value"): one.get("rgba") for one in label.get("colors") or ()}
    found: _Labels = {}
    for one in label.get("properties") or ():
        value, rgba = int(one.get("label-value", 0)), colours.get(one.get("label-value"))
        if value > 0 and "name" in one:
            found[value] = (str(one["name"]), _colour(rgba[:3]) if rgba else None)
    return found


def _colour(values: Any) -> Colour:
    red, green, blue = (int(value) for value in values)
    return (red, green, blue)


_READERS: Mapping[str, Callable[[Path], _Labels]] = {
    ".nii": _nifti,
    ".nrrd": _nrrd,
    ".tif": _tiff,
    ".h5": _hdf5,
    ".zip": _zarr_archive,
}
"""By the first suffix of a format in the table of formats."""
