"""Where DICOM slices lie, and whether they are all there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from scans.formats.errors import FormatError, NoSpacing
from scans.formats.sources import placed_frame
from scans.geometry import Frame, Spacing

EVEN = "slices at even distances, none missing and none twice"

_AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""Of a slice that states none."""
_ROUNDED = 1e-3
"""Share by which distances between pixels may differ: scanners round them in one slice and not in another."""
_UNEVEN = 0.05
"""Share of the usual distance between slices by which one may differ: positions are stored rounded."""


@dataclass(frozen=True)
class SlicePlace:
    """Position and orientation of one slice, LPS+, in mm."""

    position: tuple[float, float, float] | None
    """Centre of the first pixel; None where the file does not say."""
    axes: tuple[float, ...]
    """Directions of increasing column, then row: six cosines."""
    pixel_mm: tuple[float, float] | None
    """Distance between rows, then between columns; None where the file does not say."""
    depth_mm: float | None
    """Distance to the next slice or else thickness, for a series of a single slice."""

    @classmethod
    def of(cls, header: pydicom.Dataset) -> SlicePlace:
        """From a slice's header. One without position or orientation has an unknown place."""
        known = bool(header.get("ImagePositionPatient") and header.get("ImageOrientationPatient"))
        spacing = header.get("PixelSpacing")
        depth = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
        axes = tuple(float(value) for value in header.ImageOrientationPatient) if known else _AXES
        if len(axes) != 6 or not np.linalg.norm(np.cross(axes[:3], axes[3:])) > 0.1:
            raise ValueError(f"ImageOrientationPatient is {axes}")
        return cls(
            position=_triple(header.ImagePositionPatient) if known else None,
            axes=axes,
            pixel_mm=(float(spacing[0]), float(spacing[1])) if spacing else None,
            depth_mm=abs(float(depth)) if depth else None,
        )

    @property
    def is_known(self) -> bool:
        """Whether the file says where the slice lies."""
        return self.position is not None

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        across = np.cross(self.axes[:3], self.axes[3:])
        unit: NDArray[np.float64] = across / np.linalg.norm(across)
        return unit

    @property
    def height(self) -> float:
        """Position along the normal, in mm; 0 where none is known."""
        return float(self.normal @ np.array(self.position or (0.0, 0.0, 0.0)))


def _triple(values: Sequence[Any]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return (x, y, z)


def check_steps(path: Path, slices: list[tuple[str, SlicePlace]]) -> None:
    """Raises FormatError that names the files where a slice is missing, doubled or off its place.

    The slices are in order of height.
    """
    if len(slices) < 2:
        return
    names = [name for name, _ in slices]
    gaps = np.diff([slices[0][1].normal @ np.array(place.position) for _, place in slices])
    usual = float(np.median(gaps))
    for before, after, gap in zip(names, names[1:], gaps, strict=False):
        if gap <= _UNEVEN * usual or gap == 0:
            raise FormatError(path, f"{before} and {after} lie at the same place", EVEN)
        if abs(gap - usual) > _UNEVEN * usual:
            missing = round(gap / usual) - 1
            near = abs(gap - (missing + 1) * usual) <= _UNEVEN * (missing + 1) * usual
            why = f": {missing} missing" if missing > 0 and near else ""
            found = f"{gap:.6g} mm between {before} and {after}, {usual:.6g} mm between most slices{why}"
            raise FormatError(path, found, EVEN)
    positions = np.array([place.position for _, place in slices])
    ideal = np.linspace(positions[0], positions[-1], len(positions))
    off = np.linalg.norm(positions - ideal, axis=1)
    if off.max() > max(0.1 * usual, _UNEVEN * len(slices) * usual):
        raise FormatError(path, f"{names[int(off.argmax())]} is shifted sideways by {off.max():.6g} mm", EVEN)


def same_pixels(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    """Whether two slices have the same distances between pixels, but for the digits that were written of them."""
    return one == other or (one is not None and other is not None and np.allclose(one, other, rtol=_ROUNDED, atol=0))


def frame_of_slices(places: list[SlicePlace]) -> Frame:
    """The frame of slices in order. Raises NoSpacing where they state no pixel spacing, or for one slice no depth."""
    first, last = places[0], places[-1]
    if first.position is None or last.position is None:
        stated = "" if first.pixel_mm is None else " (PixelSpacing is {:.6g}, {:.6g})".format(*first.pixel_mm)
        raise NoSpacing(f"the DICOM slices have no ImagePositionPatient, which says how far apart they are{stated}")
    if first.pixel_mm is None:
        raise NoSpacing("the DICOM slices state no PixelSpacing")
    origin = first.position
    if len(places) > 1:
        step = (np.array(last.position) - np.array(origin)) / (len(places) - 1)
    elif first.depth_mm:
        step = first.normal * first.depth_mm
    else:
        raise NoSpacing("the DICOM slice states neither SliceThickness nor a distance to the next one")
    length = float(np.linalg.norm(step))
    y, x = first.pixel_mm
    direction = np.transpose([first.axes[:3], first.axes[3:], step / length])
    return placed_frame(
        f"PixelSpacing {y:.6g}, {x:.6g}",
        lambda: Frame.from_lps(Spacing(z=length, y=y, x=x), origin, direction),
    )
