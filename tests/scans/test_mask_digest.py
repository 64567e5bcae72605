"""The digest by which training and server mean the same mask."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from scans.mask_digest import mask_sha256

MASK = np.array([[0, 1, 2], [0, 0, 1]], dtype=np.uint8)


def test_the_digest_of_a_mask_of_six_pixels() -> None:
    """Height, width and a line feed, then the class indices row by row: nine bytes and ten digits by hand."""
    assert mask_sha256(MASK) == hashlib.sha256(b"2 3\n\x00\x01\x02\x00\x00\x01").hexdigest()
    assert mask_sha256(MASK) == "1d38636cb26820e8026c045c5a9f2727f4dbcbeb15b3fe6827ddfa369250af4d"


def test_the_same_bytes_of_another_shape_are_another_mask() -> None:
    """Six pixels in two rows, in three, and in one; and turned, which is other memory and the same bytes."""
    assert len({mask_sha256(MASK.reshape(shape)) for shape in ((2, 3), (3, 2), (1, 6), (6, 1))}) == 4
    assert mask_sha256(MASK.T) != mask_sha256(MASK.reshape(3, 2))
    assert mask_sha256(np.asfortranarray(MASK)) == mask_sha256(MASK)


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6)), st.data())
def test_one_other_pixel_is_another_mask(mask: np.ndarray, data: st.DataObject) -> None:
    """Whatever the mask and the pixel."""
    place = tuple(data.draw(st.integers(0, side - 1)) for side in mask.shape)
    other = mask.copy()
    other[place] ^= 1
    assert mask_sha256(other) != mask_sha256(mask)


@pytest.mark.parametrize("wrong", [MASK.astype(np.int64), MASK[np.newaxis], MASK > 0])
def test_what_is_no_mask_has_no_digest(wrong: np.ndarray) -> None:
    """Other types would have other bytes for the same classes."""
    with pytest.raises(ValueError, match="a mask is uint8"):
        mask_sha256(wrong)
