"""Limits: how large a scan may be, and whether the disk has room for it, asked before anything is written."""

from __future__ import annotations

import errno
import math
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scans.geometry import Triple

_SPARE_BYTES = 256 << 20
"""Left free for the database and for results of scans that were accepted before."""
_ANYWAY_VOXELS = 16 << 20
"""A volume of so many voxels is read in a moment, however few bytes it was sent as."""
_MOST_SLICE_PIXELS = 1 << 26
"""Of a scan's slices: 8192 x 8192, several times what a detector has. Some slices are in memory at once, as float32."""
_RESULT_SHARE = 8
"""A segmentation takes at most about one byte in so many voxels."""

_PYRAMID = 8 / 7
"""All levels of a pyramid of means hold so many times the voxels, and noise may not pack at all."""


class UploadTooLarge(ValueError):
    """The scan is larger than the server takes."""


class HeavyVolume(Exception):
    """A file says that it holds a large volume, where only small ones are read."""

    def __init__(self, voxels: int) -> None:
        super().__init__(voxels)
        self.voxels = voxels


@dataclass(frozen=True)
class Limits:
    """For one server's intake."""

    folder: Path
    """On the disk that scans are received on."""
    most_bytes: int | None
    """Of a scan, packed or unpacked; None: what the disk holds."""
    voxels_per_byte: float = math.inf
    """That a file may hold for each byte that was sent; a small volume may whatever was sent of it."""
    sent_bytes: int | None = None
    """Of the file at hand; None where no file is."""
    light_voxels: int | None = None
    """Of a volume that is read; None: of any size."""

    def of_scan(self, sent_bytes: int, *, light_voxels: int | None) -> Limits:
        """For one file of so many bytes: a volume of more voxels than `light_voxels` raises HeavyVolume."""
        return replace(self, sent_bytes=sent_bytes, light_voxels=light_voxels)

    def check_size(self, size: int, *, name: str) -> None:
        """Raises UploadTooLarge if a file of so many bytes is too large."""
        if self.most_bytes is not None and size > self.most_bytes:
            raise UploadTooLarge(f"{name} has {size} bytes; this server accepts {self.most_bytes}")

    def check_room(self, size: int) -> None:
        """Raises OSError (ENOSPC) if so many bytes more would fill the disk."""
        disk = shutil.disk_usage(self.folder)
        if disk.free < size + spare_bytes(disk.total):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def write(self, file: BinaryIO, piece: bytes | bytearray) -> None:
        """Writes what has arrived of a file whose size may not have been known. Raises as `check_room` does."""
        self.check_room(len(piece))
        file.write(piece)

    def check_volume(self, shape: Triple, dtype: np.dtype[np.generic], *, name: str) -> None:
        """Raises as the others do, for what a file holds once it is unpacked and written with its segmentation.

        Raises HeavyVolume last: for a volume that may be read, in another place.
        """
        voxels = math.prod(shape)
        if math.prod(shape[1:]) > _MOST_SLICE_PIXELS:
            found = f"slices of {shape[1]} x {shape[2]} pixels; this server segments {_MOST_SLICE_PIXELS} in a slice"
            raise UploadTooLarge(f"{name} has {found}, 8192 x 8192 for example")
        self._check_ratio(voxels, name=name)
        self.check_size(voxels * dtype.itemsize, name=name)
        self.check_room(voxels // _RESULT_SHARE + math.ceil(voxels * dtype.itemsize * _PYRAMID))
        if self.light_voxels is not None and voxels > self.light_voxels:
            raise HeavyVolume(voxels)

    def _check_ratio(self, voxels: int, *, name: str) -> None:
        if self.sent_bytes is None or voxels <= max(_ANYWAY_VOXELS, self.sent_bytes * self.voxels_per_byte):
            return
        raise UploadTooLarge(
            f"{name} states {voxels} voxels in {self.sent_bytes} bytes; this server reads {self.voxels_per_byte:g} for "
            f"each byte that is sent (RICEFISH_VOXELS_PER_BYTE)"
        )


def spare_bytes(disk_bytes: int) -> int:
    """What is left free on a disk of so many bytes."""
    return min(_SPARE_BYTES, disk_bytes // 20)
