"""A data set of one labelled scan, whose axes are oblique."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from training.data.raw import discover

ORGANS = "1: left_eye\n2: right_eye\n3: brain\n"
LABELS = np.random.default_rng(5).integers(0, 4, (6, 5, 4)).astype(np.uint8)
"""x, y, z, as nibabel has it."""
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (10, -20, 15), degrees=True).as_matrix() * (0.5, 0.75, -2)
OBLIQUE[:3, 3] = (30, -20, 10)


def data_set(folder: Path, affine: NDArray[np.float64] = OBLIQUE) -> Path:
    """A scan `a` without labels; gives the folder where they belong."""
    (folder / "organs.yaml").write_text(ORGANS)
    for kind in ("images", "labels"):
        (folder / "labelled" / kind).mkdir(parents=True)
    grey = np.arange(LABELS.size, dtype=np.int16).reshape(LABELS.shape)
    nib.save(nib.Nifti1Image(grey, affine), folder / "labelled/images/a.nii.gz")
    return folder / "labelled/labels"


def read(folder: Path, depth: int = 3) -> NDArray[np.generic]:
    """The labels of `a` as they are prepared, x, y, z; read upwards in slabs of `depth` slices."""
    raw = discover(folder)
    with raw.open(raw.scans[0]) as (image, labels):
        assert labels is not None
        assert labels.shape == image.shape
        assert labels.frame == image.frame
        return np.concatenate([slab for _, slab in labels.slabs(depth)]).T


ORIENTATIONS = [
    np.array(list(zip(axes, flips, strict=True)))
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
"""All 48 orders and directions of the axes, as nibabel has them."""
