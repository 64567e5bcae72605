"""Mask digest: by which training and a server mean the same segmentation of a slice."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def mask_sha256(mask: NDArray[np.uint8]) -> str:
    """SHA-256 of a slice's segmentation, class indices, uint8 (Y, X): of `Y X` in ASCII, a line feed, and its rows.

    Masks with the same digest are the same in every pixel. Raises ValueError for another shape or type.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"a mask is uint8 (Y, X), not {mask.dtype} of shape {mask.shape}")
    height, width = mask.shape
    digest = hashlib.sha256(f"{height} {width}\n".encode("ascii"))
    digest.update(np.ascontiguousarray(mask).data)
    return digest.hexdigest()
