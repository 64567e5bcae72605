"""Volumes in files: `open_volume` reads any accepted format slab by slab, `create_volume` writes one.

What is common to all formats: the format is found by the file's first bytes, never by its name. Voxels come in native
byte order; bool becomes uint8, every floating point type float32. Axes of size 1 beyond z, y, x are dropped. A file
that states no spacing needs one; a spacing that contradicts the file's is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from scans.formats.errors import FormatError, SpacingMissing, guarded, without_warnings
from scans.formats.format_table import (
    ACCEPTED,
    DICOM_SEG,
    DOWNLOADS,
    STREAMED,
    WRITABLE,
    creator_of,
    download_format,
    stem,
)
from scans.formats.signatures import reader_of, segments_reader_of
from scans.formats.sources import CheckedVoxels, frame_of
from scans.formats.writing import CheckedWriter, SlabWriter, Target, writable_dtype
from scans.geometry import Frame, Spacing, Triple
from scans.organs import OrganMap
from scans.replacing import replacing
from scans.volume import Volume

__all__ = [
    "ACCEPTED",
    "DICOM_SEG",
    "DOWNLOADS",
    "STREAMED",
    "WRITABLE",
    "FormatError",
    "SlabWriter",
    "SpacingMissing",
    "create_volume",
    "download_format",
    "open_segments",
    "open_volume",
    "stem",
    "stream_volume",
    "verify",
]


@contextmanager
def open_volume(
    path: Path, *, spacing: Spacing | None = None, dataset: str | None = None, labels: bool = False
) -> Iterator[Volume]:
    """The volume in a file or folder, lazy; memory is bounded by the slabs that are read.

    `spacing` is for files that state none: DICOM, NIfTI, NRRD and MetaImage nearly always do, TIFF and HDF5 often not.
    `dataset` names the data set in an HDF5 file, or the array in a Zarr, that holds several; of a TIFF whose slices
    were saved as such, it is "frames" or "channels".
    High values are the bright ones, whatever a file says of its own; with `labels` they are as stored, being classes.
    Raises SpacingMissing where it is needed, FormatError for every other fault of the file, also later from the
    volume's slabs: FormatError is the only exception that a bad file causes.
    """
    with ExitStack() as stack:
        with guarded(path, "reading the header"), without_warnings():
            opened = reader_of(path, dataset=dataset)(path, stack)
            voxels = opened.voxels(path, labels=labels)
            frame = frame_of(path, opened, spacing)
        yield Volume(voxels, frame, opened.said(labels=labels), opened.source_headers)


@contextmanager
def open_segments(path: Path, organs: OrganMap, *, by_name: bool = False) -> Iterator[Volume | None]:
    """The labels in a file that names them (3D Slicer's .seg.nrrd), lazy, as class indices of `organs`, uint8.

    It may cover a part of its image alone. None for a file that names no segment, which is a volume like any other.
    `by_name`: an organ's name counts where the number beside it is another organ's.
    Raises FormatError where names, numbers and organs contradict each other; as `open_volume` does otherwise.
    """
    with ExitStack() as stack:
        volume = None
        with guarded(path, "reading the header"), without_warnings():
            reader = segments_reader_of(path)
            opened = reader(path, stack, organs, by_name) if reader else None
            if opened is not None:
                frame = frame_of(path, opened, None)
                volume = Volume(CheckedVoxels.of(path, opened.source), frame, opened.notes)
        yield volume


@contextmanager
def create_volume(
    path: Path, *, shape: Triple, dtype: DTypeLike, frame: Frame, organs: OrganMap | None = None
) -> Iterator[SlabWriter]:
    """A writer for a new volume, in the format that the path's suffix names (see WRITABLE).

    The file appears under its name when every slice has been written and the block ends, and not otherwise; one that is
    there is replaced. The bytes depend on the arguments alone. `organs` marks a segmentation: formats that can, carry
    the names and colours. Raises ValueError for an unknown suffix, a type that is not integer or floating point, and a
    wrong number of slices.
    """
    create = creator_of(path)
    with replacing(path) as part:
        target = Target(part, shape, writable_dtype(np.dtype(dtype)), frame, organs)
        with ExitStack() as stack:
            writer = CheckedWriter(target, create(target, stack))
            yield writer
            writer.finish()


@contextmanager
def stream_volume(
    stream: BinaryIO,
    *,
    suffix: str,
    shape: Triple,
    dtype: DTypeLike,
    frame: Frame,
    organs: OrganMap | None = None,
) -> Iterator[SlabWriter]:
    """Like `create_volume`, to a stream of which only `write` is used: the very bytes that the file would have.

    Slices are sent as they come, but for what a compressor holds back (TIFF: one slice). Nothing more is sent when the
    block is left by an exception: no reader takes what was sent for a whole volume. The stream is not closed. Raises
    ValueError for a suffix not in STREAMED (HDF5 and OME-Zarr are written to files only), and as `create_volume` does.
    """
    if suffix not in STREAMED:
        raise ValueError(f"{suffix} cannot be written as a stream; {', '.join(sorted(STREAMED))} can")
    path = Path(f"volume{suffix}")
    target = Target(path, shape, writable_dtype(np.dtype(dtype)), frame, organs, stream)
    with ExitStack() as stack:
        writer = CheckedWriter(target, creator_of(path)(target, stack))
        yield writer
        writer.finish()


def verify(volume: Volume, *, slab_slices: int = 16) -> None:
    """Reads every voxel once and keeps none; raises FormatError if any of the file is damaged or not finite."""
    for _ in volume.slabs(slab_slices):
        pass
