"""The plain copy of a scan's voxels. Nothing of the server is imported here, for readers know of it as well."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np

from scans.geometry import Triple

SOURCE_HEADERS = "source_headers.json"
"""What is kept of the headers of a DICOM series, in the scan's folder."""
MOST_HEADERS_BYTES = 64 << 20
"""Of that file: of a million slices, which is as many as a volume has."""


def file_checksum(path: Path) -> str:
    """Checksum of a small file: 16 hexadecimal digits, BLAKE2b of 64 bits."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def copy_header(copy: Path, shape: Triple, dtype: str) -> str:
    """Checksum of what stands before the voxels in a plain copy of them: 16 hexadecimal digits, BLAKE2b of 64 bits."""
    voxels = math.prod(shape) * np.dtype(dtype).itemsize
    with copy.open("rb") as file:
        return hashlib.blake2b(file.read(copy.stat().st_size - voxels), digest_size=8).hexdigest()
