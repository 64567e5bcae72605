"""Masks as PNG: what was judged is what is learnt from, pixel by pixel, and nothing else is taken for it."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from scans.mask_digest import mask_sha256
from scans.mask_picture import MaskPictureError, mask_from_png, mask_png

MASK = np.array([[0, 1, 2], [0, 0, 255]], dtype=np.uint8)


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)), st.booleans())
def test_a_mask_comes_back_with_its_digest(mask: np.ndarray, turned: bool) -> None:
    """Any sides and classes, in any order of memory."""
    mask = mask.T if turned else mask
    read = mask_from_png(mask_png(mask))
    assert np.array_equal(read, mask) and mask_sha256(read) == mask_sha256(mask)


def test_another_program_reads_the_same_classes() -> None:
    """Pillow has a grey picture of eight bits, whose greys are the class indices."""
    picture = Image.open(io.BytesIO(mask_png(MASK)))
    assert (picture.mode, np.asarray(picture).tolist()) == ("L", MASK.tolist())


def test_a_slice_of_a_million_pixels_takes_a_few_kb() -> None:
    """Three organs of a fish, round as they are."""
    y, x = np.mgrid[:1000, :1000]
    mask = np.zeros((1000, 1000), np.uint8)
    for organ, (row, column, radius) in enumerate([(500, 500, 300), (420, 600, 80), (600, 300, 50)], start=1):
        mask[(y - row) ** 2 + (x - column) ** 2 < radius**2] = organ
    assert len(mask_png(mask)) < 8000


def test_what_is_no_mask_is_not_taken_for_one() -> None:
    """Text, half a picture, a coloured one, one of sixteen bits, and one that says that it is endless."""
    whole = mask_png(MASK)
    endless = whole[:16] + b"\x7f\xff\xff\xff" * 2 + whole[24:]
    deep = imagecodecs.png_encode(MASK.astype(np.uint16))
    for content, words in (
        (b"index,verdict", "no PNG"),
        (whole[:20], "damaged|pixels"),
        (whole[: len(whole) // 2], "damaged"),
        (imagecodecs.png_encode(np.zeros((2, 3, 3), np.uint8)), r"uint8 of shape \(2, 3, 3\)"),
        (deep, "uint16"),
        (endless, "2147483647 x 2147483647 pixels"),
    ):
        with pytest.raises(MaskPictureError, match=words):
            mask_from_png(content)
    with pytest.raises(ValueError, match="a mask is uint8"):
        mask_png(MASK.astype(np.int64))
