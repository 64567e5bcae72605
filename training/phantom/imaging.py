"""How a beam time sees the synthetic fish: staining, resolution, rings, noise, and the grey values of its detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.phantom.canvas import Material

_M = Material


@dataclass(frozen=True)
class BeamTime:
    """One visit to a facility. Brightness is in units of a bone's in the first beam time."""

    experiment: str
    """Name in the catalogue."""
    stain: Mapping[Material, float]
    """Brightness of each material."""
    variation: float
    """Standard deviation of a material's brightness from fish to fish: stain takes unevenly."""
    texture: float
    """Standard deviation of brightness inside soft tissue, grains of about two voxels."""
    blur_voxels: float
    """Standard deviation of the point spread."""
    fringe: float
    """Strength of the phase-contrast edges that a distant detector adds."""
    noise: float
    """Standard deviation of the noise where brightness is 0.5; it grows with the square root of brightness."""
    ring: float
    """Standard deviation of ring artefacts."""
    cupping: float
    """How much darker the axis is than the rim, from beam hardening."""
    gamma: float
    """Curve of the detector: grey value ~ brightness ** gamma."""
    offset: float
    """Grey value of nothing."""
    gain: float
    """Grey values from 0 to brightness 1."""


def _stain(values: str) -> Mapping[Material, float]:
    return {material: float(value) for material, value in zip(Material, values.split(), strict=True)}


# in the order of Material: air tube medium, skin muscle septum fat, bone otolith gas, lens retina vitreous, brain heart
# blood, liver gut-wall gut-content, kidney gonad egg, gill fin cord
_UNSTAINED = ".02 .40 .26 .50 .45 .37 .34 .84 1.1 .05 .68 .55 .31 .41 .50 .44 .52 .48 .38 .48 .46 .54 .43 .40 .39"
_PHOSPHOTUNGSTIC = ".02 .38 .24 .62 .56 .42 .34 .76 1.0 .05 .60 .66 .33 .45 .62 .46 .50 .60 .38 .55 .48 .59 .53 .46 .44"
_IODINE = ".03 .33 .30 .58 .51 .44 .38 .80 1.0 .07 .66 .55 .36 .53 .59 .63 .63 .55 .45 .59 .47 .52 .50 .44 .50"

BEAM_TIMES = (
    BeamTime(
        experiment="beamtime_1",
        stain=_stain(_UNSTAINED),
        variation=0.010,
        texture=0.022,
        blur_voxels=0.75,
        fringe=0.35,
        noise=0.038,
        ring=0.010,
        cupping=0.02,
        gamma=1.0,
        offset=9000.0,
        gain=36000.0,
    ),
    BeamTime(
        experiment="beamtime_2",
        stain=_stain(_PHOSPHOTUNGSTIC),
        variation=0.018,
        texture=0.026,
        blur_voxels=0.95,
        fringe=0.0,
        noise=0.042,
        ring=0.026,
        cupping=0.07,
        gamma=1.2,
        offset=2500.0,
        gain=50000.0,
    ),
    BeamTime(
        experiment="beamtime_3",
        stain=_stain(_IODINE),
        variation=0.018,
        texture=0.026,
        blur_voxels=1.1,
        fringe=0.0,
        noise=0.038,
        ring=0.016,
        cupping=0.04,
        gamma=0.85,
        offset=14000.0,
        gain=22000.0,
    ),
)
"""Unstained with phase contrast; phosphotungstic acid, noisy and with rings; iodine, blurred."""


def image_of(materials: NDArray[np.uint8], beam: BeamTime, rng: np.random.Generator) -> NDArray[np.uint16]:
    """A scan, uint16 (Z, Y, X), of a fish given as its materials, (Z, Y, X)."""
    brightness = _brightness(materials, beam, rng)
    blurred = ndimage.gaussian_filter(brightness, (0.4 * beam.blur_voxels, beam.blur_voxels, beam.blur_voxels))
    if beam.fringe:
        wide = ndimage.gaussian_filter(blurred, (0.5, 1.4, 1.4))
        blurred += np.float32(beam.fringe) * (blurred - wide)
    scan = blurred * _cupping(materials.shape[1:], beam.cupping)
    scan += _rings(scan.shape, beam.ring, rng)
    scan += _noise(scan, beam.noise, rng)
    grey = beam.offset + beam.gain * np.maximum(scan, 0) ** np.float32(beam.gamma)
    image: NDArray[np.uint16] = np.clip(np.rint(grey), 0, 65535).astype(np.uint16)
    return image


def _brightness(materials: NDArray[np.uint8], beam: BeamTime, rng: np.random.Generator) -> NDArray[np.float32]:
    table = np.array([beam.stain[material] for material in Material])
    dead = [_M.AIR, _M.TUBE, _M.MEDIUM, _M.GAS]
    change = rng.normal(0, beam.variation, len(table))
    change[dead] *= 0.25
    grain = np.full(len(table), beam.texture)
    grain[dead] = 0.0
    grain[[_M.GUT_CONTENT, _M.BONE]] *= 2.0
    texture = ndimage.gaussian_filter(rng.standard_normal(materials.shape, dtype=np.float32), (0.7, 1.1, 1.1))
    texture /= texture.std()
    brightness: NDArray[np.float32] = (table + change).astype(np.float32)[materials]
    return brightness + grain.astype(np.float32)[materials] * texture


def _radius(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Distance (Y, X) in pixels from the axis of rotation."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    radius: NDArray[np.float32] = np.hypot(y - (shape[0] - 1) / 2, x - (shape[1] - 1) / 2).astype(np.float32)
    return radius


def _cupping(shape: tuple[int, ...], strength: float) -> NDArray[np.float32]:
    radius = _radius(shape) / (min(shape) / 2)
    factor: NDArray[np.float32] = (1 - strength * np.maximum(1 - radius**2, 0)).astype(np.float32)
    return factor


def _rings(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Each detector pixel with a gain of its own draws a ring; most of them show in many slices, some in a few."""
    radius = _radius(shape[1:])
    pixels = int(radius.max()) + 2
    lasting = rng.standard_normal(pixels) * (rng.random(pixels) < 0.5)
    passing = ndimage.gaussian_filter1d(rng.standard_normal((shape[0], pixels)), 3.0, axis=0)
    profile = strength * (lasting + passing / passing.std())
    fading = np.minimum(1.0, 6.0 / np.maximum(np.arange(pixels), 1.0)) ** 0.5  # rings near the axis are the worst
    below = radius.astype(np.intp)
    share = (radius - below)[None]
    rows = (profile * fading).astype(np.float32)
    rings: NDArray[np.float32] = rows[:, below] * (1 - share) + rows[:, below + 1] * share
    return rings


def _noise(scan: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Counting noise as filtered back-projection leaves it: fine-grained, with little slow part."""
    white = rng.standard_normal(scan.shape, dtype=np.float32)
    fine = ndimage.gaussian_filter(white, (0.0, 0.55, 0.55)) - 0.8 * ndimage.gaussian_filter(white, (0.0, 1.8, 1.8))
    fine /= fine.std()
    return np.float32(strength) * np.sqrt(np.maximum(scan, 0.05) / np.float32(0.5)) * fine
