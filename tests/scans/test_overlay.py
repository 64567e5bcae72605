"""Overlays: colours worked out by hand, contours where classes meet, and montages that line up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from scans.intensity import Window
from scans.overlay import montage, overlay

PALETTE = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], dtype=np.uint8)
WINDOW = Window(100.0, 200.0)


def test_background_is_the_grey_value_through_the_window() -> None:
    """Below the window black, above it white, in between in proportion: 140 of 100..200 is 0.4 x 255 = 102."""
    picture = overlay(np.array([[50, 140, 900]]), np.zeros((1, 3), np.uint8), window=WINDOW, palette=PALETTE)

    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[0, 0, 0], [102, 102, 102], [255, 255, 255]]]


def test_an_organ_is_tinted_and_its_contour_stronger() -> None:
    """Red over grey 102: 0.5 of each inside is (178.5, 51, 51); at the contour 0.9 of red is (239.7, 10.2, 10.2)."""
    grey, segmentation = np.full((5, 5), 140), np.zeros((5, 5), np.uint8)
    segmentation[1:4, 1:4] = 1

    picture = overlay(grey, segmentation, window=WINDOW, palette=PALETTE, opacity=0.5)

    assert picture[2, 2].tolist() == [178, 51, 51]
    contour = [picture[y, x].tolist() for y, x in ((1, 2), (2, 1), (2, 3), (3, 2), (3, 3))]
    assert contour == [[240, 10, 10]] * 5
    assert picture[0, 2].tolist() == [102, 102, 102]


def test_organs_that_touch_are_told_apart_and_the_picture_s_edge_is_no_contour() -> None:
    """Where two organs meet both have a contour; where an organ runs out of the picture it has none."""
    segmentation = np.array([[1, 1, 1, 2, 2, 2]] * 3, dtype=np.uint8)

    picture = overlay(np.full((3, 6), 140), segmentation, window=WINDOW, palette=PALETTE, opacity=0.5)

    strong = (picture == [240, 10, 10]).all(axis=2) | (picture == [10, 10, 240]).all(axis=2)
    assert strong.tolist() == [[False, False, True, True, False, False]] * 3


def test_opacity_zero_leaves_the_slice_grey() -> None:
    """With the organs switched off nothing of them is drawn, contours included."""
    segmentation = np.array([[1, 0]], dtype=np.uint8)
    picture = overlay(np.array([[140, 140]]), segmentation, window=WINDOW, palette=PALETTE, opacity=0)
    assert picture.tolist() == [[[102, 102, 102], [102, 102, 102]]]


@given(
    organs=arrays(np.uint8, st.tuples(st.integers(0, 9), st.integers(0, 9)), elements=st.integers(0, 2)),
    pixels=st.integers(1, 30),
)
def test_a_picture_that_is_mixed_in_bands_is_that_of_the_whole(organs: NDArray[np.uint8], pixels: int) -> None:
    """Contours too, which are seen in the rows above and below."""
    grey = np.arange(organs.size).reshape(organs.shape) + 100
    whole = overlay(grey, organs, window=WINDOW, palette=PALETTE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scans.overlay._BAND_PIXELS", pixels)
        assert np.array_equal(overlay(grey, organs, window=WINDOW, palette=PALETTE), whole)


def test_what_cannot_be_drawn_is_refused() -> None:
    """Shapes that differ, a class without a colour and an opacity beyond 0..1 are named."""
    grey, blank = np.zeros((2, 2)), np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="must be"):
        overlay(np.zeros((2, 3)), blank, window=WINDOW, palette=PALETTE)
    with pytest.raises(ValueError, match="class index 3 has no colour"):
        overlay(grey, np.full((2, 2), 3, np.uint8), window=WINDOW, palette=PALETTE)
    with pytest.raises(ValueError, match="opacity is 2"):
        overlay(grey, blank, window=WINDOW, palette=PALETTE, opacity=2)


def test_a_montage_lines_its_columns_up() -> None:
    """Widths 3 and 2, heights 2 and 1, two black pixels between: 5 x 7, each picture in its cell's corner."""
    wide, narrow = np.full((2, 3, 3), 10, np.uint8), np.full((1, 2, 3), 20, np.uint8)

    picture = montage([[wide, narrow], [narrow]])

    expected = [
        [10, 10, 10, 0, 0, 20, 20],
        [10, 10, 10, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [20, 20, 0, 0, 0, 0, 0],
    ]
    assert picture[..., 0].tolist() == expected
    assert picture.shape == (5, 7, 3)


def test_a_montage_of_nothing_is_refused() -> None:
    """There is no picture without pictures."""
    with pytest.raises(ValueError, match="at least one picture"):
        montage([[]])
