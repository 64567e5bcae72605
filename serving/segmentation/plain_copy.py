"""The plain copy of a scan's voxels. Nothing of the server is imported here, for readers know of it as well."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np

from scans.geometry import Triple


def copy_header(copy: Path, shape: Triple, dtype: str) -> str:
    """Checksum of what stands before the voxels in a plain copy of them: 16 hexadecimal digits, BLAKE2b of 64 bits."""
    voxels = math.prod(shape) * np.dtype(dtype).itemsize
    with copy.open("rb") as file:
        return hashlib.blake2b(file.read(copy.stat().st_size - voxels), digest_size=8).hexdigest()
