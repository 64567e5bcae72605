"""The table of formats: a format stands here once, with its names, its first bytes, its reader and its writers.

A reader or writer is named, not imported, and brings in its library when it is first used: most take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import cast

from scans.formats.sources import Opened
from scans.formats.writing import FormatWriter, Target
from scans.organs import OrganMap

Reader = Callable[[Path, ExitStack], Opened]
SegmentsReader = Callable[[Path, ExitStack, OrganMap, bool], Opened | None]
Creator = Callable[[Target, ExitStack], FormatWriter]


@dataclass(frozen=True)
class DownloadFormat:
    """How a server sends a segmentation in a format."""

    name: str
    """What a request calls it."""
    suffixes: tuple[str, ...]
    """Of the file that is asked for; the first is that of the file that the server makes."""
    media_type: str


@dataclass(frozen=True)
class Format:
    """A kind of file that holds a volume. Functions are named MODULE.FUNCTION, the module being of this package."""

    accepted: str
    """What error messages call it, with the suffixes that a file may have; empty: not listed."""
    suffixes: tuple[str, ...]
    """Of the files that can be read; what a file really is, its first bytes say."""
    signature: bytes | None = None
    """A regular expression for the first bytes, `.` being any byte; None: the format is found inside a container."""
    reader: str | None = None
    """Opens a file: (path, stack) -> Opened."""
    segments: str | None = None
    """Opens a file whose labels have names: (path, stack, organs, by_name) -> Opened, or None for one without them."""
    gzipped: bool = False
    """Whether the reader takes a file that is packed with gzip as a whole."""
    folders: bool = False
    """Whether the reader takes folders."""
    in_archives: bool = False
    """Whether the reader takes `beside`, a file that is an archive's, with those beside it."""
    datasets: bool = False
    """Whether the reader takes `dataset`, the name of one of several volumes in a file, or of the axis of slices."""
    writers: Mapping[str, str] = field(default_factory=dict)
    """For each suffix that can be written: (target, stack) -> FormatWriter."""
    streamed: bool = False
    """Whether it is written from front to back, so that it can be sent while it is made."""
    download: DownloadFormat | None = None
    """None: a server does not send it."""


FORMATS: tuple[Format, ...] = (
    Format(
        accepted="NIfTI (.nii, .nii.gz, .hdr with .img)",
        suffixes=(".nii", ".nii.gz", ".hdr"),
        signature=rb".{344}(n\+1|ni1)|.{4}(n\+2|ni2)",
        reader="nifti.open_nifti",
        in_archives=True,
        gzipped=True,
        writers={".nii": "nifti_writing.create_nifti", ".nii.gz": "nifti_writing.create_nifti_gz"},
        streamed=True,
        download=DownloadFormat("nii.gz", (".nii.gz",), "application/gzip"),
    ),
    Format(
        accepted="TIFF (.tif, .tiff: multi-page, BigTIFF, ImageJ, OME)",
        suffixes=(".tif", ".tiff", ".ome.tif", ".ome.tiff"),
        signature=rb"II[*+]\0|MM\0[*+]",
        reader="tiff.open_tiff",
        datasets=True,
        writers={".tif": "tiff_writing.create_tiff", ".tiff": "tiff_writing.create_tiff"},
        streamed=True,
        download=DownloadFormat("tif", (".tif", ".tiff"), "image/tiff"),
    ),
    Format(
        accepted="NRRD (.nrrd, .nhdr with .raw)",
        suffixes=(".nrrd", ".seg.nrrd", ".nhdr"),
        signature=rb"NRRD000",
        reader="nrrd.open_nrrd",
        segments="nrrd.open_segments",
        in_archives=True,
        writers={".nrrd": "nrrd_writing.create_nrrd", ".seg.nrrd": "nrrd_writing.create_nrrd"},
        streamed=True,
        download=DownloadFormat("nrrd", (".seg.nrrd", ".nrrd"), "application/octet-stream"),
    ),
    Format(
        accepted="MetaImage (.mha, .mhd with .raw)",
        suffixes=(".mha", ".mhd"),
        signature=rb"(ObjectType|ObjectSubType|NDims|Comment)\s*+=",
        reader="metaimage.open_metaimage",
        in_archives=True,
        writers={".mha": "metaimage_writing.create_metaimage"},
        streamed=True,
    ),
    Format(
        accepted="HDF5 (.h5)",
        suffixes=(".h5", ".hdf5"),
        signature=rb"\x89HDF\r\n\x1a\n",
        reader="hdf5.open_hdf5",
        datasets=True,
        writers={".h5": "hdf5_writing.create_hdf5"},
    ),
    Format(
        accepted="OME-Zarr 0.4 and 0.5 (folder or .zip)",
        suffixes=(".ome.zarr", ".ome.zarr.zip", ".zarr", ".zarr.zip"),
        writers={
            ".ome.zarr": "ome_zarr_writing.create_ome_zarr",
            ".ome.zarr.zip": "ome_zarr_writing.create_ome_zarr_zip",
        },
        download=DownloadFormat("ome-zarr", (".ome.zarr.zip", ".ome.zarr"), "application/zip"),
    ),
    Format(
        accepted="a DICOM series or single-page TIFF, PNG or BMP slices (folder or .zip)",
        suffixes=(".zip",),
        signature=rb"PK(\x03\x04|\x05\x06)",
        reader="containers.open_container",
        folders=True,
        datasets=True,
    ),
    Format(accepted="", suffixes=(".dcm",), signature=rb".{128}DICM", reader="containers.open_slice"),
)

ACCEPTED = ", ".join(known.accepted for known in FORMATS if known.accepted)
"""What can be read, in words."""

WRITABLE: tuple[str, ...] = tuple(suffix for known in FORMATS for suffix in known.writers)
"""Suffixes that `create_volume` knows."""

STREAMED = frozenset(suffix for known in FORMATS if known.streamed for suffix in known.writers)
"""Suffixes that `stream_volume` knows."""

DICOM_SEG = DownloadFormat("dicom-seg", (".dcm",), "application/dicom")
"""What a server sends of a scan that came as a DICOM series, and nobody writes without what it refers to."""

DOWNLOADS: Mapping[str, DownloadFormat] = MappingProxyType(
    {one.name: one for one in (*(known.download for known in FORMATS if known.download), DICOM_SEG)}
)
"""Formats in which a segmentation can be fetched, by the name that a request has for each."""

_SUFFIXES = sorted({suffix for known in FORMATS for suffix in known.suffixes}, key=len, reverse=True)


def reader(known: Format) -> Reader:
    """Opens files of a format. Raises LookupError for one that is found inside a container only."""
    if known.reader is None:
        raise LookupError(f"{known.accepted} is read by its container's reader")
    return cast(Reader, _imported(known.reader))


def segments_reader(known: Format) -> SegmentsReader | None:
    """Opens files of a format whose labels have names; None where the format has none."""
    return cast(SegmentsReader, _imported(known.segments)) if known.segments else None


def creator_of(path: Path) -> Creator:
    """The writer for the longest suffix that names a format. Raises ValueError that lists them."""
    writers = {suffix: name for known in FORMATS for suffix, name in known.writers.items()}
    for suffix in sorted(writers, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return cast(Creator, _imported(writers[suffix]))
    raise ValueError(f"{path}: no format has this suffix; there are {', '.join(WRITABLE)}")


def download_format(path: Path) -> DownloadFormat:
    """The format to fetch for a file of this name. Raises ValueError that lists the suffixes."""
    formats = {suffix: download for download in DOWNLOADS.values() for suffix in download.suffixes}
    for suffix in sorted(formats, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return formats[suffix]
    raise ValueError(f"{path}: a segmentation is fetched as one of {', '.join(sorted(formats))}")


def stem(path: Path) -> str:
    """The file's name without any format suffix, upper or lower case: "pt_2.nii.gz" -> "pt_2", "Fish.TIF" -> "Fish"."""
    name = path.name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def _imported(name: str) -> object:
    module, _, function = name.rpartition(".")
    return getattr(import_module(f"{__package__}.{module}"), function)
