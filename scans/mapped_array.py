"""Arrays that lie in a file and not in memory."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np


def mapped_array(
    file: IO[bytes] | Path, *, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> np.memmap[Any, np.dtype[Any]]:
    """An array of zeros in a file, which is made or emptied; one that is open already may be closed afterwards.

    Its room is taken at once: a mapped file that outgrows the disk would kill the process. Raises OSError (ENOSPC).
    """
    if isinstance(file, Path):
        with file.open("w+b") as opened:
            return mapped_array(opened, dtype=dtype, shape=shape)
    size = math.prod(shape) * dtype.itemsize
    file.truncate(0)
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(file.fileno(), 0, size)
    file.truncate(size)
    return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
