"""Verification: a file is read to its last voxel once, before it is accepted, and written as what everything after it
reads: an OME-Zarr pyramid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scans.checksums import checksum, file_checksums
from scans.formats import open_volume
from scans.formats.ome_zarr_pyramid import Pyramid, show_window
from scans.formats.ome_zarr_slabs import PyramidWriter
from scans.geometry import Frame, Spacing, Triple
from scans.intensity import IntensityRule, Window, stride
from scans.model.drift import Departure, grey_quantiles, shear_departures, spacing_departures
from scans.model.manifest import ModelManifest
from scans.volume import Volume
from serving.intake.limits import Limits
from serving.segmentation.source_headers import MOST_HEADERS_BYTES, SOURCE_HEADERS

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
    image_checksums: Mapping[str, str]
    """Of each file of the pyramid."""
    source_headers: str | None = None
    """Checksum of what was kept of the file's headers beside it; None where there is nothing such."""
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
    image: Path,
    limits: Limits,
    most_slices: int,
    progress: Callable[[], None] = lambda: None,
) -> Verified:
    """Reads every slice of a file once, slab by slab, and samples its grey values on the way, as `rule.window` would.

    What is read is written to the folder `image`, an OME-Zarr pyramid of means, so that the file is never decoded
    again: least of all in the server, where no limit of a reader holds. Its slabs, of `most_slices` at most, are those
    in which the scan will be segmented. Of a DICOM series, what a segmentation has to say of it is kept beside that
    folder, as SOURCE_HEADERS. `progress` is called after each slab. Raises FormatError for every fault, SpacingMissing
    where a spacing is needed, UploadTooLarge and OSError (ENOSPC) for a volume that is too large unpacked.
    """
    with open_volume(path, spacing=spacing, dataset=dataset) as volume:
        limits.check_volume(volume.shape, volume.dtype, name=path.name)
        depth = _slab_slices(volume.shape, volume.dtype, most=most_slices)
        writer = PyramidWriter(_created(image, volume, slab_slices=depth))
        step, rows = stride(volume.shape), []
        checksums: dict[str, str] = {}
        for number, (box, slab) in enumerate(volume.slabs(depth)):
            start, stop = box.start[0], box.stop[0]
            rows += [slab[z - start, ::step, ::step].flatten() for z in _multiples(step, start, stop)]
            checksums.update(file_checksums(image, writer.write(number, slab)))
            progress()
        sample = np.concatenate(rows)
        window = rule.fixed or rule.window_of(sample)
        show_window(image, window)
        return Verified(
            shape=volume.shape,
            dtype=volume.dtype.name,
            frame=volume.frame,
            window=window,
            quantiles=grey_quantiles(window, sample),
            slab_slices=depth,
            image_checksums={**file_checksums(image, Pyramid.metadata_files(volume.shape)), **checksums},
            source_headers=_keep_headers(volume, image.with_name(SOURCE_HEADERS)),
            notes=volume.notes,
        )


def _created(image: Path, volume: Volume, *, slab_slices: int) -> Pyramid:
    return Pyramid.create(
        image,
        shape=volume.shape,
        dtype=volume.dtype,
        frame=volume.frame,
        organs=None,
        slab_slices=slab_slices,
        reduction="local_mean",
        deep_levels=True,
    )


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
    return checksum(kept)


def _multiples(step: int, start: int, stop: int) -> range:
    return range(-(-start // step) * step, stop, step)


def departures(found: Verified, manifest: ModelManifest) -> Iterator[Departure]:
    """How a file is unlike what a model has seen in training, and its place unlike what every format can state."""
    yield from spacing_departures(found.frame.spacing, manifest.spacing_mm)
    yield from shear_departures(found.frame)
    if (seen := manifest.seen) is not None:
        yield from seen.grey_values(found.window, found.quantiles)
