"""OME-Zarr 0.5, a folder or a .zip: a pyramid (`ome_zarr_pyramid`) that takes slices in order, any number at once."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats.ome_zarr_pyramid import Pyramid
from scans.formats.writing import FormatWriter, Target
from scans.formats.zip_stream import folder_entries, zip_stream

_SLAB_SLICES = 32
_SLAB_BYTES = 128 << 20
"""Slices that fill a slab are kept in memory until it is written; thick ones make slabs of fewer slices."""


@dataclass
class _PyramidWriter:
    pyramid: Pyramid
    _number: int = 0
    _waiting: list[NDArray[Any]] = field(default_factory=list)

    def write(self, slab: NDArray[Any]) -> None:
        for plane in slab:
            self._waiting.append(plane.copy())
            if len(self._waiting) == self.pyramid.slab_slices:
                self._flush()

    def finish(self) -> None:
        """The last slab, which may be thinner."""
        if self._waiting:
            self._flush()

    def _flush(self) -> None:
        self.pyramid.write(self._number, np.stack(self._waiting))
        self._number += 1
        self._waiting.clear()


@dataclass(frozen=True)
class _ZipWriter:
    inner: _PyramidWriter
    folder: Path
    path: Path

    def write(self, slab: NDArray[Any]) -> None:
        self.inner.write(slab)

    def finish(self) -> None:
        self.inner.finish()
        with self.path.open("wb") as archive:
            for piece in zip_stream(folder_entries(self.folder)):
                archive.write(piece)


def create_ome_zarr(target: Target, stack: ExitStack) -> FormatWriter:
    """An OME-Zarr folder."""
    return _create(target, target.path)


def create_ome_zarr_zip(target: Target, stack: ExitStack) -> FormatWriter:
    """An OME-Zarr in one .zip file, not compressed again, as RFC-9 wants it: its root is the archive's root."""
    folder = target.path.with_suffix(".folder")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return _ZipWriter(_create(target, folder), folder, target.path)


def _create(target: Target, folder: Path) -> _PyramidWriter:
    _, y, x = target.shape
    slices = _SLAB_SLICES
    while slices > 1 and slices * y * x * target.dtype.itemsize > _SLAB_BYTES:
        slices //= 2
    pyramid = Pyramid.create(
        folder,
        shape=target.shape,
        dtype=target.dtype,
        frame=target.frame,
        organs=target.organs,
        slab_slices=slices,
    )
    return _PyramidWriter(pyramid)
