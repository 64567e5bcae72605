"""TIFF, one page per slice, deflated; voxel size as ImageJ states it, in mm. BigTIFF where 4 GB might not do."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from scans.formats.tiff_spacing import AFFINE_KEY
from scans.formats.writing import SlabWriter, Target

_CLASSIC_BYTES = 2**32 - 2**26
_MOST = 2**32 - 1


@dataclass
class _TiffWriter:
    tiff: tifffile.TiffWriter
    description: str | None
    resolution: tuple[tuple[int, int], tuple[int, int]]

    def write(self, slab: NDArray[Any]) -> None:
        for plane in slab:
            self.tiff.write(
                plane,
                photometric="minisblack",
                compression="zlib",
                description=self.description,
                metadata=None,
                resolution=self.resolution,
                resolutionunit="NONE",
                software="Ricefish",
            )
            self.description = None


def create_tiff(target: Target, stack: ExitStack) -> SlabWriter:
    """A .tif file that ImageJ, Fiji and napari open as one stack with its voxel size."""
    size = int(np.prod(target.shape, dtype=object)) * target.dtype.itemsize
    tiff = tifffile.TiffWriter(target.path, bigtiff=size > _CLASSIC_BYTES, byteorder="<")
    stack.enter_context(tiff)
    spacing = target.frame.spacing
    return _TiffWriter(tiff, _description(target), (_per_mm(spacing.x), _per_mm(spacing.y)))


def _description(target: Target) -> str:
    depth = target.shape[0]
    lines = ["ImageJ=1.54f", f"images={depth}", f"slices={depth}", "unit=mm", f"spacing={target.frame.spacing.z!r}"]
    lines += ["loop=false", f"{AFFINE_KEY}={json.dumps([list(row) for row in target.frame.affine])}"]
    if target.organs:
        lines += [f"label_{organ.index}={organ.name}" for organ in target.organs.organs]
    return "\n".join(lines) + "\n"


def _per_mm(spacing: float) -> tuple[int, int]:
    """Pixels per mm as a fraction of two 32-bit numbers, to nine digits."""
    rate = 1 / Fraction(spacing)
    nearest = rate.limit_denominator(max(1, int(_MOST / max(1.0, float(rate))) - 1))
    return (nearest.numerator, nearest.denominator) if nearest else (1, round(spacing))
