"""Pictures of slices: proportions, scale bar and legend, on slices of a few voxels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from scans.intensity import Window
from scans.organs import OrganMap
from serving.segmentation.pictures import MOST_PIXELS, PictureStyle, bar_length, png, proportions

ORGANS = OrganMap.from_mapping(
    {1: {"name": "heart", "colour": [255, 0, 0]}, 2: {"name": "left_eye", "colour": [0, 0, 255]}}
)
INK = (228, 231, 235)


def drawn(
    grey: NDArray[Any], *, spacing_mm: tuple[float, float], scale_bar: bool = False, legend: bool = False
) -> NDArray[np.uint8]:
    style = PictureStyle(opacity=0.0, scale_bar=scale_bar, legend=legend)
    content = png(
        grey,
        np.zeros(grey.shape, dtype=np.uint8),
        spacing_mm=spacing_mm,
        window=Window(0, 255),
        organs=ORGANS,
        style=style,
    )
    return np.asarray(Image.open(io.BytesIO(content)))


def test_coarse_voxels_become_longer() -> None:
    """Rows three times as far apart as columns: each row is there three times, and none is mixed with another."""
    grey = np.array([[0, 100], [200, 50]], dtype=np.uint8)
    np.testing.assert_array_equal(drawn(grey, spacing_mm=(0.3, 0.1))[..., 0], np.repeat(grey, 3, axis=0))
    np.testing.assert_array_equal(drawn(grey, spacing_mm=(0.1, 0.3))[..., 0], np.repeat(grey, 3, axis=1))
    np.testing.assert_array_equal(drawn(grey, spacing_mm=(0.1, 0.1))[..., 0], grey)


def test_proportions_make_no_picture_that_fills_the_memory() -> None:
    """A hundred slices a metre apart, of pixels of a micron: the longer side ends at the limit."""
    assert proportions((100, 1000), (1000.0, 0.001)) == (MOST_PIXELS, 1, pytest.approx(100_000 / MOST_PIXELS))
    assert proportions((5000, 10), (0.1, 0.1))[:2] == (5000, 10)
    assert proportions((1, 60_000), (60.0, 0.001))[:2] == (MOST_PIXELS, MOST_PIXELS)
    assert proportions((60_000, 2), (0.001, 20.0))[:2] == (MOST_PIXELS * 3 // 2, MOST_PIXELS)


@pytest.mark.parametrize(
    ("width", "length", "label"),
    [
        (7.3, 5.0, "5 mm"),
        (1.0, 1.0, "1 mm"),
        (0.99, 0.5, "500 um"),
        (0.3, 0.2, "200 um"),
        (0.0012, 0.001, "1 um"),
        (4e-5, 2e-5, "20 nm"),
        (250.0, 200.0, "200 mm"),
    ],
)
def test_a_bar_is_a_round_length(width: float, length: float, label: str) -> None:
    """1, 2 or 5 times a power of ten, in the unit that needs no point."""
    assert bar_length(width) == (pytest.approx(length), label)


def test_the_bar_is_as_long_as_it_says() -> None:
    """100 columns of 0.1 mm: the bar below is 2 mm, 20 pixels; in a picture whose rows are coarse as well."""
    grey = np.zeros((10, 100), dtype=np.uint8)
    picture = drawn(grey, spacing_mm=(0.4, 0.1), scale_bar=True)
    assert picture.shape[0] > 40
    row = next(row for row in picture[40:] if (row == INK).all(axis=1).sum() >= 10)
    assert np.flatnonzero((row[:40] == INK).all(axis=1)).tolist() == list(range(8, 28))


def test_the_legend_has_every_organ_in_its_colour() -> None:
    """Beside the slice, in the order of their indices."""
    picture = drawn(np.zeros((4, 6), dtype=np.uint8), spacing_mm=(1.0, 1.0), legend=True)
    for organ in ORGANS.organs:
        shown = np.argwhere((picture == organ.colour).all(axis=2))
        assert len(shown) == 12 * 12
        assert shown[:, 1].min() > 6
    tops = [np.argwhere((picture == organ.colour).all(axis=2))[:, 0].min() for organ in ORGANS.organs]
    assert tops == sorted(tops)
    assert (picture == INK).all(axis=2).any()
