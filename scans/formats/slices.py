"""A folder or archive of files: which of them are slices, or a volume's header, and which are passed over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from posixpath import splitext

from scans.formats.beside import Beside
from scans.formats.dicom import open_dicom
from scans.formats.dicom_prefix import first_element
from scans.formats.entries import Entries
from scans.formats.errors import FormatError
from scans.formats.format_table import Format, reader
from scans.formats.pictures import picture_kind
from scans.formats.side_files import is_side_file, passed_over
from scans.formats.signatures import GZIP, START_BYTES, known_by
from scans.formats.slice_folder import PICTURE, TIFF, name_form, open_numbered
from scans.formats.sources import Opened
from scans.formats.streams import gzip_start
from scans.formats.tiff_pages import is_tiff

SLICES = "single-page TIFF, PNG or BMP slices, or the DICOM files of one series, in one folder or .zip"
_VOLUMES = "or one volume in it: MetaImage, NRRD, NIfTI, OME-Zarr; other volumes are posted as they are"
_VOXELS = frozenset({".raw", ".zraw", ".img", ".gz", ".bin"})
"""Files beside a header that hold its voxels, of whatever look."""
_FEWEST_PICTURES = 2
"""A single picture is a preview more often than a volume."""


@dataclass(frozen=True)
class _Contents:
    """Names by what the files are."""

    dicom: list[str] = field(default_factory=list)
    tiff: list[str] = field(default_factory=list)
    pictures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By format."""
    headers: dict[str, Format] = field(default_factory=dict)
    """Of volumes whose voxels are in the same file, or in one beside it."""
    others: dict[str, bytes] = field(default_factory=dict)
    """With their first bytes."""


def open_slices(entries: Entries, stack: ExitStack) -> Opened:
    """The volume that these files are: slices, or a header with its voxels. What is passed over is said.

    Raises FormatError for a mixture, for a file that may be a lost slice, and if there is no volume.
    """
    contents = _contents(entries)
    if contents.dicom or contents.tiff or _pictures(contents):
        return _opened_slices(entries, contents)
    if len(contents.headers) > 1:
        listed = ", ".join(list(contents.headers)[:4])
        raise FormatError(entries.path, f"{len(contents.headers)} volumes: {listed}", "one volume in a folder or .zip")
    if not contents.headers:
        listed = ", ".join(entries.names[:3]) or "no files"
        raise FormatError(entries.path, f"a folder or archive without slices ({listed})", f"{SLICES}; {_VOLUMES}")
    ((name, known),) = contents.headers.items()
    open_volume: Callable[..., Opened] = reader(known)
    opened = open_volume(entries.path / name, stack, Beside.among(entries, name))
    beside = [other for other in contents.others if PurePosixPath(other).suffix.lower() not in _VOXELS]
    return replace(opened, notes=(*opened.notes, *passed_over([*beside, *_all_pictures(contents)])))


def _contents(entries: Entries) -> _Contents:
    found = _Contents()
    for name in entries.names:
        with entries.stream(name) as file:
            start = file.read(START_BYTES)
        if splitext(name)[1].lower() in _VOXELS and not start.startswith(GZIP):
            found.others[name] = start
        elif first_element(start) is not None:
            found.dicom.append(name)
        elif is_tiff(start):
            found.tiff.append(name)
        elif (kind := picture_kind(start)) is not None:
            found.pictures[kind].append(name)
        elif (known := _volume(entries, name, start)) is not None:
            found.headers[name] = known
        else:
            found.others[name] = start
    return found


def _volume(entries: Entries, name: str, start: bytes) -> Format | None:
    """The format of a volume that can be read out of an archive; None for other files."""
    if packed := start.startswith(GZIP):
        with entries.stream(name) as file:
            start = gzip_start(entries.path / name, file, START_BYTES)
    known = known_by(start, packed=packed)
    return known if known is not None and known.in_archives else None


def _pictures(contents: _Contents) -> list[str]:
    """The pictures that may be slices: those of the format of which there are most; none where two have as many."""
    by_count = sorted(contents.pictures.values(), key=len, reverse=True)
    if not by_count or len(by_count[0]) < _FEWEST_PICTURES or len({len(names) for names in by_count}) < len(by_count):
        return []
    return by_count[0]


def _all_pictures(contents: _Contents) -> list[str]:
    return [name for names in contents.pictures.values() for name in names]


def _opened_slices(entries: Entries, contents: _Contents) -> Opened:
    if contents.dicom and contents.tiff:
        found = f"{len(contents.dicom)} DICOM files among {len(contents.tiff)} TIFF files"
        raise FormatError(entries.path, found, SLICES)
    if contents.headers:
        found = f"a volume, {next(iter(contents.headers))}, among slices"
        raise FormatError(entries.path, found, "slices or one volume, each in a folder or .zip of its own")
    pictures = _pictures(contents)
    if contents.dicom:
        slices, kind = contents.dicom, None
    elif pictures and len(contents.tiff) < _FEWEST_PICTURES:
        slices, kind = pictures, PICTURE
    else:
        slices, kind = contents.tiff, TIFF
    _require_none_lost(entries, slices, contents.others)
    other_kinds = {*contents.tiff, *_all_pictures(contents)} - set(slices)
    _require_no_other_numbers(entries, slices, sorted(other_kinds))
    beside = sorted({*contents.others, *other_kinds})
    if kind is not None:
        return open_numbered(entries, slices, kind, beside=beside)
    opened = open_dicom(entries, slices)
    return replace(opened, notes=(*opened.notes, *passed_over(beside)))


def _require_none_lost(entries: Entries, slices: list[str], others: dict[str, bytes]) -> None:
    """Raises FormatError for a file that is named as a slice and is none: to leave it out would make a gap."""
    suffixes = {PurePosixPath(name).suffix.lower() for name in slices}
    forms = {form for name in slices if (form := name_form(name))}
    for name, start in others.items():
        numbered, suffixed = name_form(name) in forms, PurePosixPath(name).suffix.lower() in suffixes
        if (numbered and suffixed) or ((numbered or suffixed) and not is_side_file(name)):
            what = f"no slice: it begins with {start[:8].hex(' ')}" if start else "empty"
            raise FormatError(entries.path / name, f"{PurePosixPath(name).name} is {what}", SLICES)


def _require_no_other_numbers(entries: Entries, slices: list[str], pictures: list[str]) -> None:
    """Raises FormatError for a picture of another format that is named as a slice, with a number that no slice has:
    beside a slice of its number it is a preview, and else it may be the slice."""
    forms = {form for name in slices if (form := name_form(name))}
    stems = {_stem(name) for name in slices}
    for name in pictures:
        if name_form(name) in forms and _stem(name) not in stems:
            found = f"{PurePosixPath(name).name} is of another format than the slices, none of which has its number"
            raise FormatError(entries.path / name, found, "slices of one format")


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).casefold()
