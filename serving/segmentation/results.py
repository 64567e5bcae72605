"""Results: a finished segmentation as a stream of bytes in any format, and single slices of it as pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scans.formats import DOWNLOADS, open_volume, stem, stream_volume
from scans.formats.ome_zarr_pyramid import Pyramid
from scans.formats.zip_stream import ZipEntry, zip_bytes, zip_stream
from scans.overlay import overlay
from serving.queue.scan import Scan
from serving.segmentation.stored_segmentation import open_segmentation
from serving.storage import Store

Axis = Literal["z", "y", "x"]

OME_ZARR = "ome-zarr"


class SliceNotFound(LookupError):
    """A slice index beyond the scan."""


class UnknownFormat(ValueError):
    """A format in which a segmentation cannot be fetched."""

    def __init__(self, name: str) -> None:
        super().__init__(f"format is {name!r}; a segmentation can be fetched as {', '.join(DOWNLOADS)}")


@dataclass(frozen=True)
class Download:
    """A file that is made while it is sent."""

    filename: str
    media_type: str
    length: int | None
    """Bytes; None where nobody knows before the last one."""
    pieces: Iterator[bytes]


class Results:
    """Makes what is fetched from what is stored; memory is that of one slab."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def download(self, scan: Scan, format_name: str) -> Download:
        """The segmentation with the frame of the scan, named after the scan's file. Raises UnknownFormat."""
        if format_name not in DOWNLOADS:
            raise UnknownFormat(format_name)
        sent = DOWNLOADS[format_name]
        suffix = sent.suffixes[0]
        length, pieces = self._zipped(scan) if format_name == OME_ZARR else (None, self._converted(scan, suffix))
        name = f"{stem(Path(scan.upload.filename))}_segmentation{suffix}"
        return Download(name, sent.media_type, length, pieces)

    def picture(self, scan: Scan, axis: Axis, index: int, *, opacity: float) -> bytes:
        """PNG of a slice with its organs. Raises SliceNotFound for an index beyond the scan.

        Slices across z take one read; across y and x, the whole scan is passed through, slab by slab.
        """
        along = "zyx".index(axis)
        if not 0 <= index < scan.shape[along]:
            raise SliceNotFound(f"slice {axis}={index}; the scan has {axis}=0 to {axis}={scan.shape[along] - 1}")
        segmentation = self._segmentation(scan)
        with (
            self._store.source(scan.id, scan.volume) as path,
            open_volume(path, spacing=scan.upload.spacing) as volume,
        ):
            if along == 0:
                grey, organs = volume.slab(index, index + 1)[0], segmentation.read(index, index + 1)[0]
            else:
                grey = _across((slab for _, slab in volume.slabs(scan.slab_slices)), along, index)
                organs = _across(segmentation.slabs(), along, index)
        from PIL import Image  # noqa: PLC0415  only pictures need it

        colours = overlay(grey, organs, window=scan.window, palette=scan.organs.palette, opacity=opacity)
        buffer = io.BytesIO()
        Image.fromarray(colours).save(buffer, format="PNG")
        return buffer.getvalue()

    def _segmentation(self, scan: Scan) -> Pyramid:
        return open_segmentation(self._store.result(scan.id))

    def _zipped(self, scan: Scan) -> tuple[int, Iterator[bytes]]:
        files = self._store.result_files(scan.id)
        entries = [ZipEntry(file.name, file.size, partial(self._store.open_file, file)) for file in files]
        return zip_bytes(entries), zip_stream(entries)

    def _converted(self, scan: Scan, suffix: str) -> Iterator[bytes]:
        outgoing = _Outgoing()
        segmentation = self._segmentation(scan)
        with stream_volume(
            outgoing, suffix=suffix, shape=scan.shape, dtype=np.uint8, frame=scan.frame, organs=scan.organs
        ) as writer:
            for slab in segmentation.slabs():
                writer.write(slab)
                yield outgoing.taken()
        yield outgoing.taken()


class _Outgoing(io.BytesIO):
    """Where a format is written: holds what has not been sent yet."""

    def taken(self) -> bytes:
        piece = self.getvalue()
        self.seek(0)
        self.truncate()
        return piece


def _across(slabs: Iterator[NDArray[Any]], along: int, index: int) -> NDArray[Any]:
    return np.concatenate([slab.take(index, axis=along) for slab in slabs])
