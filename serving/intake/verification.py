"""Verification: a file is read to its last voxel once, before it is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scans.formats import SlabWriter, create_volume, open_volume
from scans.geometry import Frame, Spacing, Triple
from scans.intensity import IntensityRule, Window, stride
from scans.model.drift import Departure, grey_quantiles, shear_departures, spacing_departures
from scans.model.manifest import ModelManifest
from scans.volume import Volume, voxels_crc32
from serving.intake.limits import Limits
from serving.segmentation.plain_copy import MOST_HEADERS_BYTES, SOURCE_HEADERS, copy_header, file_checksum

_SLAB_BYTES = 64 << 20
"""Of grey values that are read at once; a few such slabs are in memory per scan under way."""


@dataclass(frozen=True)
class Verified:
    """What a file turned out to be when all of it was read."""

    shape: Triple
    dtype: str
    frame: Frame
    window: Window
    quantiles: tuple[float, ...]
    """Of the grey values in that window, as `scans.model.drift` compares them."""
    slab_slices: int
    """Slices of one durable step."""
    voxels_crc32: tuple[int, ...]
    """Of each such step."""
    copy_header: str | None
    """Of the plain copy that was written, to be used in the file's place, the checksum of what is before its voxels;
    None where there is none.
    """
    source_headers: str | None = None
    """Checksum of what was kept of the file's headers beside that copy; None where there is nothing such."""
    notes: tuple[str, ...] = ()
    """What the sender should know of how the file was read."""


def _slab_slices(shape: Triple, dtype: np.dtype[Any], *, most: int) -> int:
    """Slices of a slab: a power of two, at most `most`, no more than the scan has, within a slab's share of memory."""
    slices = most
    while slices > 1 and (slices * shape[1] * shape[2] * dtype.itemsize > _SLAB_BYTES or slices >= 2 * shape[0]):
        slices //= 2
    return slices


def verify(
    path: Path,
    *,
    spacing: Spacing | None,
    dataset: str | None = None,
    rule: IntensityRule,
    copy: Path,
    limits: Limits,
    most_slices: int,
    progress: Callable[[], None] = lambda: None,
) -> Verified:
    """Reads every slice of a file once, slab by slab, and samples its grey values on the way, as `rule.window` would.

    The slabs, of `most_slices` at most, are those in which it will be segmented, and the checksum of each is noted.
    `progress` is called after each.
    A file that is anything but voxels one after another (Zarr, HDF5, DICOM, pictures, packed TIFF and NIfTI) is written
    to `copy` as it is decoded, so that it is never decoded again: least of all in the server, where no limit of a
    reader holds. Of a DICOM series, what a segmentation has to say of it is kept beside the copy, as SOURCE_HEADERS.
    Raises FormatError for every fault, SpacingMissing where a spacing is needed,
    UploadTooLarge and OSError (ENOSPC) for a volume that is too large unpacked.
    """
    with ExitStack() as stack:
        volume = stack.enter_context(open_volume(path, spacing=spacing, dataset=dataset))
        copied = not volume.plain
        limits.check_volume(volume.shape, volume.dtype, name=path.name, copied=copied)
        writer = stack.enter_context(_writer(copy, volume)) if copied else None
        depth = _slab_slices(volume.shape, volume.dtype, most=most_slices)
        step, rows, checksums = stride(volume.shape), [], []
        for box, slab in volume.slabs(depth):
            start, stop = box.start[0], box.stop[0]
            rows += [slab[z - start, ::step, ::step].flatten() for z in _multiples(step, start, stop)]
            checksums.append(voxels_crc32(slab))
            progress()
            if writer:
                writer.write(slab)
        sample = np.concatenate(rows)
        window = rule.fixed or rule.window_of(sample)
        quantiles = grey_quantiles(window, sample)
        verified = Verified(
            shape=volume.shape,
            dtype=volume.dtype.name,
            frame=volume.frame,
            window=window,
            quantiles=quantiles,
            slab_slices=depth,
            voxels_crc32=tuple(checksums),
            copy_header=None,
            source_headers=_keep_headers(volume, copy.with_name(SOURCE_HEADERS)),
            notes=volume.notes,
        )
    return replace(verified, copy_header=copy_header(copy, verified.shape, verified.dtype)) if copied else verified


def _keep_headers(volume: Volume, path: Path) -> str | None:
    """Writes what is to be kept of a file's headers; gives its checksum. A file of which nothing can be kept is a scan
    all the same: nothing of its voxels depends on it."""
    if volume.source_headers is None:
        return None
    try:
        kept = volume.source_headers()
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError):  # its first header is no good DICOM
        return None
    if kept is None or len(kept) > MOST_HEADERS_BYTES:
        return None
    path.write_bytes(kept)
    return file_checksum(path)


def _writer(copy: Path, volume: Volume) -> AbstractContextManager[SlabWriter]:
    return create_volume(copy, shape=volume.shape, dtype=volume.dtype, frame=volume.frame)


def _multiples(step: int, start: int, stop: int) -> range:
    return range(-(-start // step) * step, stop, step)


def departures(found: Verified, manifest: ModelManifest) -> Iterator[Departure]:
    """How a file is unlike what a model has seen in training, and its place unlike what every format can state."""
    yield from spacing_departures(found.frame.spacing, manifest.spacing_mm)
    yield from shear_departures(found.frame)
    if (seen := manifest.seen) is not None:
        yield from seen.grey_values(found.window, found.quantiles)
