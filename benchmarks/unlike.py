"""Scans that a model for upright whole fish should not trust itself with, beside ordinary ones; all synthetic.

A turned fish is turned as an animal, before it is scanned, so that noise, blur and sampling are those of its beam time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scans.geometry import Spacing, Triple
from training.phantom.anatomy import build_anatomy
from training.phantom.canvas import FIELD_OF_VIEW_MM, Canvas, Material, spacing_of
from training.phantom.fish import BEAM_TIME_COUNT, DEFAULT_SHAPE
from training.phantom.imaging import BEAM_TIMES, image_of

Materials = NDArray[np.uint8]
"""(Z, Y, X): Material of each voxel."""

_FINE: Triple = (234, 72, 72)
"""Voxels as long as wide, about."""
_ORGAN_LIKE = (
    *(
        Material.BONE,
        Material.GAS,
        Material.VITREOUS,
        Material.BRAIN,
        Material.HEART,
        Material.LIVER,
        Material.GUT_WALL,
    ),
    *(Material.GUT_CONTENT, Material.KIDNEY, Material.GONAD, Material.EGG, Material.FAT),
)


@dataclass(frozen=True)
class Scan:
    """What is posted."""

    grey: NDArray[np.uint16]
    """(Z, Y, X)"""
    spacing: Spacing


@dataclass(frozen=True)
class Kind:
    """A way in which scans are, or are not, like those that the model was trained on."""

    ordinary: bool
    about: str
    make: Callable[[int, int], Scan]
    """From a seed and the number of a scan; nothing else decides a voxel."""


def _fish(seed: int, number: int, shape: Triple = DEFAULT_SHAPE) -> Materials:
    return build_anatomy(shape, np.random.default_rng([seed, number])).materials


def _scanned(materials: Materials, seed: int, number: int, spacing: Spacing | None = None) -> Scan:
    """At the beam times in turn, with noise of its own."""
    beamtime = number % BEAM_TIME_COUNT
    image = image_of(materials, BEAM_TIMES[beamtime], np.random.default_rng([seed, number, beamtime + 1]))
    return Scan(image, spacing or spacing_of(DEFAULT_SHAPE))


def _ordinary(seed: int, number: int) -> Scan:
    return _scanned(_fish(seed, number), seed, number)


def _regridded(seed: int, number: int) -> Scan:
    """The control of those that are turned: painted finely and sampled as they are, but not turned."""
    return _scanned(_coarse(_fish(seed, number, _FINE)), seed, number)


def _across(seed: int, number: int) -> Scan:
    fine = np.rot90(_fish(seed, number, _FINE), axes=(0, 1))
    return _scanned(_coarse(fine), seed, number)


def _tilted(seed: int, number: int) -> Scan:
    outside = int(Material.AIR)
    fine = ndimage.rotate(
        _fish(seed, number, _FINE), 30.0, axes=(0, 1), reshape=False, order=0, mode="constant", cval=outside
    )
    return _scanned(_coarse(fine), seed, number)


def _tail_first(seed: int, number: int) -> Scan:
    return _scanned(np.ascontiguousarray(_fish(seed, number)[::-1, :, ::-1]), seed, number)


def _on_its_side(seed: int, number: int) -> Scan:
    return _scanned(np.ascontiguousarray(np.rot90(_fish(seed, number), axes=(1, 2))), seed, number)


def _coarse(fine: Materials) -> Materials:
    """Every n-th plane, so that the spacing along z is that of ordinary scans."""
    step = _FINE[0] / DEFAULT_SHAPE[0]
    planes = ((np.arange(round(len(fine) / step)) + 0.5) * step).astype(int)
    return np.ascontiguousarray(fine[planes])


def _greys(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[[int, int], Scan]:
    """An ordinary scan whose grey values are changed, as shares of 65535."""

    def make(seed: int, number: int) -> Scan:
        scan = _ordinary(seed, number)
        changed = np.clip(np.rint(change(scan.grey / 65535.0) * 65535.0), 0, 65535).astype(np.uint16)
        return Scan(changed, scan.spacing)

    return make


def _sampled(shape: Triple) -> Callable[[int, int], Scan]:
    return lambda seed, number: _scanned(_fish(seed, number, shape), seed, number, spacing_of(shape))


def _misstated(seed: int, number: int) -> Scan:
    scan = _ordinary(seed, number)
    return Scan(scan.grey, Spacing(*(10.0 * mm for mm in scan.spacing)))


def _another_animal(seed: int, number: int) -> Scan:
    """A blunt body in the same tube, filled with a dozen balls of what organs are made of, in no order."""
    rng = np.random.default_rng([seed, number, 99])
    space = Canvas(DEFAULT_SHAPE, rng)
    radius = space.y**2 + space.x**2
    space.paint(np.broadcast_to(radius < 4.5**2, space.labels.shape), Material.TUBE)
    space.paint(np.broadcast_to(radius < 4.2**2, space.labels.shape), Material.MEDIUM)
    length, half = rng.uniform(14, 22), rng.uniform(2.2, 3.2)
    middle = FIELD_OF_VIEW_MM[0] / 2
    body = ((space.z - middle) / (length / 2)) ** 2 + (space.y / half) ** 2 + (space.x / half) ** 2
    space.paint(body < 1, Material.SKIN)
    space.paint(body < 0.85, Material.MUSCLE)
    for _ in range(12):
        z, angle, out = rng.uniform(-0.4, 0.4) * length + middle, rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6) * half
        size = rng.uniform(0.4, 1.3, 3)
        ball = ((space.z - z) / (1.5 * size[0])) ** 2 + ((space.y - out * np.sin(angle)) / size[1]) ** 2
        ball = ball + ((space.x - out * np.cos(angle)) / size[2]) ** 2
        space.paint((ball < 1) & (body < 0.85), Material(rng.choice(_ORGAN_LIKE)))
    return _scanned(space.materials, seed, number)


def _empty_tube(seed: int, number: int) -> Scan:
    space = Canvas(DEFAULT_SHAPE, np.random.default_rng([seed, number]))
    radius = space.y**2 + space.x**2
    space.paint(np.broadcast_to(radius < 4.5**2, space.labels.shape), Material.TUBE)
    space.paint(np.broadcast_to(radius < 4.2**2, space.labels.shape), Material.MEDIUM)
    return _scanned(space.materials, seed, number)


KINDS: Mapping[str, Kind] = {
    "ordinary": Kind(True, "fish as in training, at its beam times", _ordinary),
    "regridded": Kind(True, "the same, made in the way of the turned ones", _regridded),
    "across": Kind(False, "turned by 90 degrees, across the tube", _across),
    "tilted": Kind(False, "tilted by 30 degrees", _tilted),
    "tail_first": Kind(False, "turned end for end", _tail_first),
    "on_its_side": Kind(False, "turned by 90 degrees about its length", _on_its_side),
    "darker": Kind(False, "grey values times 0.4", _greys(lambda grey: 0.4 * grey)),
    "eight_bits": Kind(False, "grey values divided by 256", _greys(lambda grey: grey / 256)),
    "inverted": Kind(False, "bright for dark", _greys(lambda grey: 1 - grey)),
    "gamma": Kind(False, "square root of the grey values", _greys(np.sqrt)),
    "coarse": Kind(False, "voxels twice as long", _sampled((20, 36, 36))),
    "misstated": Kind(False, "a spacing ten times too large in the header", _misstated),
    "another_animal": Kind(False, "a body with balls of tissue in no order", _another_animal),
    "empty_tube": Kind(False, "no animal at all", _empty_tube),
}
