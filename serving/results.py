"""Results: a finished segmentation as a file in any format, and single slices of it as pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scans.formats import DOWNLOAD_SUFFIXES, create_volume, open_volume, stem
from scans.overlay import overlay
from serving.scan import Scan
from serving.segmentation import SegmentationArray
from serving.store import Store

Axis = Literal["z", "y", "x"]


class SliceNotFound(LookupError):  # noqa: N818 - says what is wrong, as FileNotFoundError does
    """A slice index beyond the scan."""


class UnknownFormat(ValueError):  # noqa: N818 - says what is wrong
    """A format in which a segmentation cannot be fetched."""

    def __init__(self, name: str) -> None:
        super().__init__(f"format is {name!r}; a segmentation can be fetched as {', '.join(DOWNLOAD_SUFFIXES)}")


class Results:
    """Makes what is fetched from what is stored; memory is that of one slab."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def exported(self, scan: Scan, format_name: str) -> Iterator[Path]:
        """The segmentation as a file with the frame of the scan, gone when the context ends.

        The file is named after the scan's. Raises UnknownFormat.
        """
        if format_name not in DOWNLOAD_SUFFIXES:
            raise UnknownFormat(format_name)
        name = f"{stem(Path(scan.upload.filename))}_segmentation{DOWNLOAD_SUFFIXES[format_name]}"
        array = SegmentationArray.open(self._store.folder_of(scan.id), slab_slices=scan.slab_slices)
        with self._store.passing("outgoing") as folder:
            path = folder / name
            with create_volume(path, shape=scan.shape, dtype=np.uint8, frame=scan.frame, organs=scan.organs) as writer:
                for slab in array.slabs():
                    writer.write(slab)
            yield path

    def picture(self, scan: Scan, axis: Axis, index: int, *, opacity: float) -> bytes:
        """PNG of a slice with its organs. Raises SliceNotFound for an index beyond the scan.

        Slices across z take one read; across y and x, the whole scan is passed through, slab by slab.
        """
        along = "zyx".index(axis)
        if not 0 <= index < scan.shape[along]:
            raise SliceNotFound(f"slice {axis}={index}; the scan has {axis}=0 to {axis}={scan.shape[along] - 1}")
        folder = self._store.folder_of(scan.id)
        array = SegmentationArray.open(folder, slab_slices=scan.slab_slices)
        with open_volume(folder / scan.volume, spacing=scan.upload.spacing) as volume:
            if along == 0:
                grey, organs = volume.slab(index, index + 1)[0], array.read(index, index + 1)[0]
            else:
                grey = _across((slab for _, slab in volume.slabs(scan.slab_slices)), along, index)
                organs = _across(array.slabs(), along, index)
        colours = overlay(grey, organs, window=scan.window, palette=scan.organs.palette, opacity=opacity)
        buffer = io.BytesIO()
        Image.fromarray(colours).save(buffer, format="PNG")
        return buffer.getvalue()


def _across(slabs: Iterator[NDArray[Any]], along: int, index: int) -> NDArray[Any]:
    return np.concatenate([slab.take(index, axis=along) for slab in slabs])
