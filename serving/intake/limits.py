"""Limits: how large a scan may be, and whether the disk has room for it, asked before anything is written."""

from __future__ import annotations

import errno
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scans.geometry import Triple

_SPARE_BYTES = 256 << 20
"""Left free for the database and for results of scans that were accepted before."""
_RESULT_SHARE = 8
"""A segmentation takes at most about one byte in so many voxels."""


class UploadTooLarge(ValueError):
    """The scan is larger than the server takes."""


@dataclass(frozen=True)
class Limits:
    """For one server's intake."""

    folder: Path
    """On the disk that scans are received on."""
    most_bytes: int | None
    """Of a scan, packed or unpacked; None: what the disk holds."""

    def check_size(self, size: int, *, name: str) -> None:
        """Raises UploadTooLarge if a file of so many bytes is too large."""
        if self.most_bytes is not None and size > self.most_bytes:
            raise UploadTooLarge(f"{name} has {size} bytes; this server accepts {self.most_bytes}")

    def check_room(self, size: int) -> None:
        """Raises OSError (ENOSPC) if so many bytes more would fill the disk."""
        if shutil.disk_usage(self.folder).free < size + self._spare:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def check_volume(self, shape: Triple, dtype: np.dtype[np.generic], *, name: str, copied: bool) -> None:
        """Raises as the others do, for what a file holds once it is unpacked and its segmentation is written."""
        voxels = math.prod(shape)
        self.check_size(voxels * dtype.itemsize, name=name)
        self.check_room(voxels // _RESULT_SHARE + voxels * dtype.itemsize * copied)

    @property
    def _spare(self) -> int:
        return min(_SPARE_BYTES, shutil.disk_usage(self.folder).total // 20)
