"""Images and labels whose files say that 0 is white, in a raw data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from scans.formats import FormatError
from training.data.raw import discover

RNG = np.random.default_rng(8)
GREY = RNG.integers(0, 1000, (5, 6, 7)).astype(np.uint16)
CLASSES = RNG.integers(0, 3, (5, 6, 7)).astype(np.uint8)


def data_set(folder: Path, image: NDArray[np.uint16], labels: NDArray[np.generic], photometric: str) -> Path:
    (folder / "organs.yaml").write_text("1: heart\n2: eye\n")
    (folder / "spacing.yaml").write_text("{z: 2.0, y: 0.5, x: 0.5}\n")
    for kind, voxels in (("images", image), ("labels", labels)):
        (folder / "labelled" / kind).mkdir(parents=True)
        tifffile.imwrite(folder / "labelled" / kind / "a.tif", voxels, photometric=photometric, metadata=None)
    return folder


def opened(folder: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    raw = discover(folder)
    with raw.open(raw.scans[0]) as (image, labels):
        assert labels is not None
        return image.read(), labels.read()


def test_the_image_is_inverted_and_its_classes_are_not(tmp_path: Path) -> None:
    """High is bright for the model; class 1 stays class 1."""
    image, labels = opened(data_set(tmp_path, ~GREY, CLASSES, "miniswhite"))
    np.testing.assert_array_equal(image, GREY)
    np.testing.assert_array_equal(labels, CLASSES)


@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack"])
def test_a_mask_of_one_bit_is_the_white_of_it(photometric: str, tmp_path: Path) -> None:
    """Whichever bit stands for white, the organ is what a person sees as white."""
    mask = CLASSES == 1
    stored = ~mask if photometric == "miniswhite" else mask
    _, labels = opened(data_set(tmp_path, GREY, stored, photometric))
    np.testing.assert_array_equal(labels, mask)


def test_labels_of_a_stack_that_was_cut_are_refused(tmp_path: Path) -> None:
    """Counts are compared for labels as for scans, and the message names the file."""
    folder = data_set(tmp_path, GREY, CLASSES, "minisblack")
    description = "ImageJ=1.54f\nimages=9\nslices=9\n"
    tifffile.imwrite(folder / "labelled/labels/a.tif", CLASSES, photometric="minisblack", description=description)
    with pytest.raises(FormatError, match=r"a\.tif: states 9 slices, holds 5"):
        opened(folder)
