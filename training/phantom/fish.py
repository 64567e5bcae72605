"""The synthetic fish that the demo trains on: a medaka in its tube, as three beam times would have scanned it.

python -m training.phantom.fish --picture docs/phantom.png
python -m training.phantom.fish --scan fish.nii.gz --labels truth.nii.gz --seed 1 --fish 30000 --beamtime 2
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.formats import create_volume
from scans.geometry import Frame, Spacing, Triple
from scans.intensity import IntensityRule
from scans.organs import OrganMap
from scans.overlay import montage, overlay
from training.data.prepared import Split
from training.phantom.anatomy import build_anatomy
from training.phantom.canvas import Label, spacing_of
from training.phantom.imaging import BEAM_TIMES, image_of

ORGANS_FILE = Path("data/phantom/organs.yaml")
DEFAULT_SHAPE: Triple = (40, 72, 72)
BEAM_TIME_COUNT = len(BEAM_TIMES)
FIRST_FISH: Mapping[Split, int] = {"train": 0, "validation": 10_000, "unlabelled": 20_000}
"""Number of the first fish of each split of the prepared data."""
FIRST_HELD_OUT_FISH = 30_000
"""From this number on a fish is in no split: what a demo or a test may post to a server."""

_PICTURE_SHAPE: Triple = (128, 112, 112)
_PICTURE_ORGANS = (Label.LEFT_EYE, Label.BRAIN, Label.LIVER, Label.GONAD)
"""The picture shows the sections through their middles."""
_PICTURE_STEP = 12
"""Grey values of the picture are rounded to multiples of this, which halves the file and is not seen in the noise."""


@dataclass(frozen=True)
class Phantom:
    """A synthetic scan with its true labels. Axes: z from head to tail, y, x; slices are transverse sections."""

    image: NDArray[np.uint16]
    """(Z, Y, X) grey values."""
    labels: NDArray[np.uint8]
    """(Z, Y, X) class index, as in data/phantom/organs.yaml."""
    spacing: Spacing
    experiment: str
    """Name of the beam time."""


def make_phantom(*, seed: int, fish: int, beamtime: int, shape: Triple = DEFAULT_SHAPE) -> Phantom:
    """Fish number `fish` (from 0) of that seed, scanned at beam time 1, 2 or 3.

    The arguments alone decide every voxel. The animal depends on seed and fish: at another beam time it is the same
    one, scanned anew; at another shape it is the same one, sampled anew. Raises ValueError for a beam time or a fish
    that there cannot be.
    """
    if not 1 <= beamtime <= BEAM_TIME_COUNT:
        raise ValueError(f"beam time {beamtime}; there are 1 to {BEAM_TIME_COUNT}")
    if seed < 0 or fish < 0:
        raise ValueError(f"seed {seed} and fish {fish}: neither may be negative")
    beam = BEAM_TIMES[beamtime - 1]
    anatomy = build_anatomy(shape, np.random.default_rng([seed, fish]))
    image = image_of(anatomy.materials, beam, np.random.default_rng([seed, fish, beamtime]))
    return Phantom(image, anatomy.labels, spacing_of(shape), beam.experiment)


def write_phantom_scan(phantom: Phantom, path: Path, *, labels_path: Path | None = None) -> None:
    """Writes the image, and the true labels if asked for, in the formats that the suffixes name."""
    frame = Frame.from_lps(phantom.spacing)
    shape = phantom.labels.shape
    with create_volume(path, shape=shape, dtype=np.uint16, frame=frame) as image:
        image.write(phantom.image)
    if labels_path is None:
        return
    organs = OrganMap.from_yaml(ORGANS_FILE)
    with create_volume(labels_path, shape=shape, dtype=np.uint8, frame=frame, organs=organs) as labels:
        labels.write(phantom.labels)


def picture(*, seed: int) -> NDArray[np.uint8]:
    """Sections of one fish at each beam time, each beside its labels: uint8 (Y, X, 3)."""
    palette = OrganMap.from_yaml(ORGANS_FILE).palette
    rows = []
    for beamtime in range(1, BEAM_TIME_COUNT + 1):
        phantom = make_phantom(seed=seed, fish=FIRST_HELD_OUT_FISH, beamtime=beamtime, shape=_PICTURE_SHAPE)
        window = IntensityRule(0.5, 99.8).window_of(phantom.image)
        row = []
        for organ in _PICTURE_ORGANS:
            z = int(np.median(np.flatnonzero((phantom.labels == organ).any(axis=(1, 2)))))
            grey, labels = phantom.image[z], phantom.labels[z]
            row += [overlay(grey, labels, window=window, palette=palette, opacity=opacity) for opacity in (0.0, 0.45)]
        rows.append(row)
    return montage(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes a scan of a synthetic fish, its labels, or the picture of the documentation."""
    parser = argparse.ArgumentParser(prog="python -m training.phantom.fish", description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, help="where to write a PNG of sections at each beam time")
    parser.add_argument("--scan", type=Path, help="where to write a scan; the suffix names the format")
    parser.add_argument("--labels", type=Path, help="where to write the true labels of that scan")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fish", type=int, default=FIRST_HELD_OUT_FISH, help="number of the fish, from 0")
    parser.add_argument("--beamtime", type=int, default=1, help=f"1 to {BEAM_TIME_COUNT}")
    parser.add_argument("--shape", type=int, nargs=3, default=DEFAULT_SHAPE, metavar=("Z", "Y", "X"))
    chosen = parser.parse_args(arguments)
    if not (chosen.picture or chosen.scan):
        parser.error("nothing to do: give --picture or --scan")
    if chosen.picture:
        _save_picture(picture(seed=chosen.seed), chosen.picture)
    if chosen.scan:
        z, y, x = chosen.shape
        phantom = make_phantom(seed=chosen.seed, fish=chosen.fish, beamtime=chosen.beamtime, shape=(z, y, x))
        write_phantom_scan(phantom, chosen.scan, labels_path=chosen.labels)


def _save_picture(rgb: NDArray[np.uint8], path: Path) -> None:
    from matplotlib import image  # noqa: PLC0415  a second to import, and only for the documentation

    image.imsave(path, rgb // _PICTURE_STEP * _PICTURE_STEP, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
