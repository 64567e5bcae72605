"""Reviews: what people say of slices of segmentations, as reviews.csv has it, in training as in a server."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["good", "bad", "unsure", "skip"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""good and bad teach; unsure and skip say that somebody has looked."""

NEEDED_COLUMNS = ("volume", "slice_index", "verdict")
"""Of reviews.csv, in any order."""
MARKING_COLUMNS = ("organ", "mask_sha256", "reviewer", "ending")
"""May be there: the organ that the verdict is on (empty: the slice), the mask that was seen, who judged, and why the
verdict no longer stands (empty: it does)."""
NOTED_COLUMNS = ("time", "comment", "axis", "scan", "model", "version", "model_sha256", "id")
"""May be there, for people to read."""


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
