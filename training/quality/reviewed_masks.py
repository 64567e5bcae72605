"""Reviewed masks: those that people judged, by their digests, as `ricefish reviews export` leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.mask_digest import mask_sha256
from scans.mask_picture import MaskPictureError, mask_from_png
from scans.organs import MAX_CLASSES
from training.quality.reviews import ReviewsError


@dataclass(frozen=True)
class ReviewedMasks:
    """A folder of DIGEST.png; one that is not there holds none."""

    folder: Path

    def read(self, digest: str) -> NDArray[np.uint8] | None:
        """The class indices, uint8 (Y, X), as the model had them that made the mask; None where it is not at hand.

        Raises ReviewsError for a file that holds another mask than its name says, or none.
        """
        path = self.folder / f"{digest}.png"
        if not path.exists():
            return None
        again = "remove it, and give `ricefish reviews export` again"
        try:
            mask = mask_from_png(path.read_bytes())
        except MaskPictureError as error:
            raise ReviewsError(f"{path} is no mask: {error}; {again}") from None
        if mask_sha256(mask) != digest:
            raise ReviewsError(f"{path} is not the mask of its name: it is {mask_sha256(mask)}; {again}")
        return mask

    def in_organs(self, digest: str, theirs: Sequence[str], ours: Sequence[str]) -> NDArray[np.uint8]:
        """The same in the class indices of the data set. Raises LookupError where it is not at hand, or cannot be."""
        mask, lookup = self.read(digest), classes_by_name(theirs, ours)
        if mask is None or lookup is None:
            raise LookupError(f"there is no mask {digest} of these organs")
        return lookup[mask]


def classes_by_name(theirs: Sequence[str], ours: Sequence[str]) -> NDArray[np.uint8] | None:
    """uint8 (256,): the class index in `ours` of each in `theirs`, which list organs from index 1 on.

    None where they are not the same organs, in whatever order: a mask without an organ that its model did not know is
    not one whose model missed it. What is beyond theirs becomes 255.
    """
    if sorted(theirs) != sorted(ours):
        return None
    lookup = np.full(MAX_CLASSES + 1, MAX_CLASSES, dtype=np.uint8)
    lookup[: len(ours) + 1] = [0, *(ours.index(name) + 1 for name in theirs)]
    return lookup
